import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Template } from 'aws-cdk-lib/assertions';
import { type FunctionName, type Row, rowOf, usesRedis } from '../lib/stages';
import { isAllowed, type Statement, statementsOf } from './policies';
import { config, functionOf, of, properties, ROWS, template } from './support';

const DOCUMENT = '../docs/security.md';

/** Whatever a function could be allowed by mistake, and more. */
const ACTIONS = Object.entries({
  dynamodb: `BatchGetItem BatchWriteItem ConditionCheckItem CreateBackup CreateTable DeleteBackup DeleteItem DeleteResourcePolicy
    DeleteTable DescribeStream DescribeTable DescribeTimeToLive EnableKinesisStreamingDestination ExportTableToPointInTime GetItem
    GetRecords GetResourcePolicy GetShardIterator ImportTable ListStreams ListTables PartiQLDelete PartiQLInsert PartiQLSelect
    PartiQLUpdate PutItem PutResourcePolicy Query RestoreTableFromBackup RestoreTableToPointInTime Scan TagResource
    UpdateContinuousBackups UpdateItem UpdateTable UpdateTimeToLive`,
  sqs: `AddPermission ChangeMessageVisibility CreateQueue DeleteMessage DeleteQueue GetQueueAttributes GetQueueUrl
    ListDeadLetterSourceQueues ListQueues PurgeQueue ReceiveMessage RemovePermission SendMessage SetQueueAttributes
    StartMessageMoveTask CancelMessageMoveTask ListMessageMoveTasks TagQueue`,
  secretsmanager: `CancelRotateSecret CreateSecret DeleteSecret DescribeSecret GetResourcePolicy GetSecretValue ListSecrets
    PutResourcePolicy PutSecretValue RestoreSecret RotateSecret UpdateSecret UpdateSecretVersionStage BatchGetSecretValue`,
  elasticache: `Connect CreateServerlessCache DeleteServerlessCache DescribeServerlessCaches DescribeUsers ModifyServerlessCache
    ModifyUser ModifyUserGroup CreateUser DeleteUser ExportServerlessCacheSnapshot`,
  logs: `CreateLogGroup CreateLogStream DeleteLogGroup DeleteLogStream DescribeLogGroups DescribeLogStreams FilterLogEvents
    GetLogEvents PutLogEvents PutRetentionPolicy PutSubscriptionFilter StartQuery`,
  xray: 'GetTraceSummaries BatchGetTraces PutTelemetryRecords PutTraceSegments GetSamplingRules',
  ec2: `AssignPrivateIpAddresses AttachNetworkInterface AuthorizeSecurityGroupEgress CreateNetworkInterface CreateRoute
    DeleteNetworkInterface DescribeInstances DescribeNetworkInterfaces DescribeSubnets DescribeVpcs ModifyNetworkInterfaceAttribute
    RunInstances UnassignPrivateIpAddresses`,
  lambda:
    'InvokeFunction InvokeAsync UpdateFunctionCode UpdateFunctionConfiguration GetFunction AddPermission DeleteFunction',
  iam: 'PassRole CreateRole PutRolePolicy AttachRolePolicy CreateUser CreateAccessKey GetRole',
  kms: 'Decrypt Encrypt GenerateDataKey CreateGrant',
  s3: 'GetObject PutObject ListBucket DeleteObject',
  sns: 'Publish Subscribe',
  events: 'PutEvents PutRule',
  ssm: 'GetParameter GetParameters PutParameter',
  sts: 'AssumeRole GetFederationToken',
  cloudwatch: 'PutMetricData DeleteAlarms',
}).flatMap(([service, names]) => names.split(/\s+/).map((name) => `${service}:${name}`));

/** What the document says: for each function of a row, what it may do on what. */
type Grants = Map<string, Map<string, string[]>>;

/** Reads the tables: a heading names rows, or says `everywhere`; a line has a function, a resource and actions. */
function documented(): Map<string, Grants> {
  const rows = new Map<string, Grants>();
  let named: string[] = [];
  for (const line of readFileSync(DOCUMENT, 'utf8').split('\n')) {
    const cells = line.split('|').map((cell) => cell.trim());
    if (line.startsWith('#')) {
      named = line === '### everywhere' ? ['everywhere'] : line.startsWith('### ') ? quoted(line) : [];
    } else if (cells.length === 6 && !['function', '---'].includes(cells[1]!)) {
      const [, name, resource, actions] = cells as [string, string, string, string];
      for (const row of named) {
        const grants = rows.get(row) ?? new Map();
        const ofFunction = grants.get(name) ?? new Map();
        rows.set(row, grants.set(name, ofFunction.set(resource, quoted(actions))));
      }
    }
  }
  return rows;
}

function quoted(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, found]) => found!);
}

const DOCUMENTED = documented();

/** What a function of a row may do according to the document; `anything` stands for every resource. */
function granted(row: Row, name: FunctionName): Map<string, string[]> {
  const everywhere = DOCUMENTED.get('everywhere')!;
  const every = everywhere.get('every function')!;
  const network = usesRedis(row, name) ? everywhere.get('who uses the cache')!.get('anything')! : [];
  const own = DOCUMENTED.get(row.stage)!.get(name)!;
  return new Map([...own, ['its log', every.get('its log')!], ['anything', [...every.get('anything')!, ...network]]]);
}

/** The resources of a deployment by what the document calls them, and some that no function has to do with. */
function resources(from: Template, name: FunctionName): [called: string, arn: string][] {
  const found: [string, string][] = [];
  for (const [id, table] of properties(from, 'AWS::DynamoDB::GlobalTable')) {
    const called = `${table.TableName.replace(/^watershed-/, '').replace(/-v1$/, '')} table`;
    found.push([called, `<${id}.Arn>`], [`${called}'s stream`, `<${id}.Arn>/stream/2026-01-01`]);
    for (const { IndexName } of table.GlobalSecondaryIndexes ?? []) {
      found.push([`${called}'s indexes`, `<${id}.Arn>/index/${IndexName}`]);
    }
    found.push([`${called}'s other indexes`, `<${id}.Arn>/index/by-else`]);
  }
  for (const [id, { QueueName }] of properties(from, 'AWS::SQS::Queue')) {
    found.push([QueueName.endsWith('-dlq') ? 'dead letters' : 'command queue', `<${id}.Arn>`]);
  }
  const log = (of: string) =>
    `arn:aws:logs:eu-central-1:111122223333:log-group:/aws/lambda/watershed-${of}:log-stream:one`;
  const arn = (rest: string) => `arn:aws:${rest}`;
  found.push(
    ['signing keys', config().signingKeysSecret],
    ['cache', arn('elasticache:eu-central-1:111122223333:serverlesscache:watershed')],
    ['cache', arn('elasticache:eu-central-1:111122223333:user:watershed')],
    ['another cache', arn('elasticache:eu-central-1:111122223333:serverlesscache:other')],
    ['another user', arn('elasticache:eu-central-1:111122223333:user:default')],
    ['its log', log(name)],
    ["another's log", log('other-fn')],
    ['another table', arn('dynamodb:eu-central-1:111122223333:table/other')],
    ['another queue', arn('sqs:eu-central-1:111122223333:other')],
    ['another secret', arn('secretsmanager:eu-central-1:111122223333:secret:other-AbCdEf')],
    ['a function', arn(`lambda:eu-central-1:111122223333:function:watershed-${name}`)],
    ['a role', arn('iam::111122223333:role/other')],
    ['a bucket', arn('s3:::other')],
    ['everything', '*'],
  );
  return found;
}

function statements(from: Template, name: FunctionName): Statement[] {
  return statementsOf(from, functionOf(from, name).Role['Fn::GetAtt'][0]);
}

/** What is allowed and should not be, and the other way round. */
function differences(row: Row, from: Template, name: FunctionName): string[] {
  const [policy, grants] = [statements(from, name), granted(row, name)];
  const asked = new Set([...ACTIONS, ...[...grants.values()].flat()]);
  return resources(from, name).flatMap(([called, resource]) =>
    [...asked].flatMap((action) => {
      const wanted = [called, 'anything'].some((on) => grants.get(on)?.includes(action));
      const allowed = isAllowed(policy, action, resource);
      return wanted === allowed
        ? []
        : [`${row.stage}: ${name} ${allowed ? 'may' : 'may not'} ${action} on ${called} (${resource})`];
    }),
  );
}

test('the document has a table for every row, and names every function of it and no other', () => {
  assert.deepEqual([...DOCUMENTED.keys()].sort(), ['everywhere', ...ROWS.map((row) => row.stage)].sort());
  for (const { stage, functions } of ROWS) {
    assert.deepEqual([...DOCUMENTED.get(stage)!.keys()].sort(), [...functions].sort(), stage);
  }
});

test('each function may do what the document says, on what it says, and nothing more', () => {
  for (const row of ROWS) {
    for (const name of row.functions) {
      assert.deepEqual(differences(row, of(row.stage), name), []);
    }
  }
});

test('what the document grants is there to be granted', () => {
  for (const row of ROWS) {
    for (const name of row.functions) {
      const known = new Set(resources(of(row.stage), name).map(([called]) => called));
      const unknown = [...granted(row, name).keys()].filter((on) => on !== 'anything' && !known.has(on));
      assert.deepEqual(unknown, [], `${name} at ${row.stage}`);
    }
  }
});

test('the matrix notices what is allowed too much and too little', () => {
  const row = rowOf('cqrs');
  const grants = DOCUMENTED.get('cqrs')!.get('write-fn')!;
  const before = grants.get('read table')!;
  grants.set('read table', []);
  assert.match(differences(row, of('cqrs'), 'write-fn').join(), /write-fn may dynamodb:GetItem on read table/);
  grants.set('read table', [...before, 'dynamodb:Scan']);
  assert.match(differences(row, of('cqrs'), 'write-fn').join(), /write-fn may not dynamodb:Scan on read table/);
  grants.set('read table', before);
});

test('in cqrs read-fn has nothing to do with the write store, and write-fn with Redis or the network', () => {
  const [read, write] = [statements(of('cqrs'), 'read-fn'), statements(of('cqrs'), 'write-fn')];
  const services = (policy: Statement[], on: RegExp) =>
    policy.filter(({ resources }) => resources.some((resource) => on.test(resource))).flatMap(({ actions }) => actions);
  assert.deepEqual(services(read, /StoresWrite/), []);
  const writes = read
    .flatMap(({ actions }) => actions)
    .filter((action) => /dynamodb:(Put|Update|Delete|Batch|Condition)|sqs:/.test(action));
  assert.deepEqual(writes, []);
  assert.deepEqual(services(write, /elasticache|StoresWrite/), []);
  assert.ok(write.flatMap(({ actions }) => actions).every((action) => !action.startsWith('ec2:')));
  assert.deepEqual(services(write, /CommandQueue/), ['sqs:SendMessage']);
});

test('no action is a wildcard, and no resource but those that the document explains', () => {
  for (const row of ROWS) {
    for (const name of row.functions) {
      const wild = statements(of(row.stage), name).flatMap((statement) => {
        assert.ok(
          statement.actions.every((action) => /^[a-z0-9]+:[A-Za-z]+$/.test(action)),
          `${name} at ${row.stage}`,
        );
        const on = statement.resources.filter((resource) => /[*?]/.test(resource));
        return statement.effect === 'Allow' && on.length > 0
          ? [`${statement.actions.map((action) => action.split(':')[0])} ${on}`]
          : [];
      });
      for (const found of wild) {
        assert.match(
          found,
          /^(logs,logs arn:aws:logs:\S+:log-group:\/aws\/lambda\/watershed-[a-z-]+:\*|(ec2,|xray,)*xray \*)$/,
        );
      }
    }
  }
});

test('the code of a function in the network cannot touch the network', () => {
  for (const row of ROWS) {
    for (const name of row.functions.filter((name) => usesRedis(row, name))) {
      const policy = statements(of(row.stage), name);
      const [denied] = policy.filter(({ effect }) => effect === 'Deny');
      const allowed = policy.filter(({ effect }) => effect === 'Allow').flatMap(({ actions }) => actions);
      assert.deepEqual(
        denied!.actions,
        allowed.filter((action) => action.startsWith('ec2:')),
      );
      const condition = JSON.stringify(denied!.conditions);
      assert.ok(
        condition.includes('lambda:SourceFunctionArn') && condition.includes(`:function:watershed-${name}`),
        condition,
      );
    }
  }
});

test("roles are taken on by the service that they are for, and have nothing of AWS's making", () => {
  for (const { stage } of ROWS) {
    for (const [id, role] of properties(of(stage), 'AWS::IAM::Role')) {
      assert.equal(role.ManagedPolicyArns, undefined, id);
      const [statement, ...more] = role.AssumeRolePolicyDocument.Statement;
      assert.equal(more.length, 0);
      assert.match(
        statement.Principal.Service,
        /^(lambda|vpc-flow-logs|codebuild|codedeploy|scheduler)\.amazonaws\.com$/,
      );
    }
  }
});

test('only the front door may invoke functions, and policies of resources allow nobody anything', () => {
  for (const { stage } of ROWS) {
    for (const [id, permission] of properties(of(stage), 'AWS::Lambda::Permission')) {
      assert.equal(permission.Principal, 'apigateway.amazonaws.com', id);
      assert.match(JSON.stringify(permission.SourceArn), /ApiHttpApi/, id);
    }
    for (const [id, { PolicyDocument }] of properties(of(stage), 'AWS::SQS::QueuePolicy')) {
      assert.ok(
        PolicyDocument.Statement.every(({ Effect }: any) => Effect === 'Deny'),
        id,
      );
    }
    for (const [id, { Replicas }] of properties(of(stage), 'AWS::DynamoDB::GlobalTable')) {
      assert.equal(Replicas[0].ResourcePolicy, undefined, id);
    }
  }
});

test('while one read store takes the place of another, ingest-fn may put views into both, and nobody else notices', () => {
  const from = template('cqrs', { otherProjection: 2 });
  const other = properties(from, 'AWS::DynamoDB::GlobalTable').find(
    ([, { TableName }]) => TableName === 'watershed-read-v2',
  )![0];
  const may = (name: FunctionName) =>
    ACTIONS.filter(
      (action) => action.startsWith('dynamodb:') && isAllowed(statements(from, name), action, `<${other}.Arn>`),
    );
  assert.deepEqual([may('read-fn'), may('write-fn'), may('ingest-fn')], [[], [], ['dynamodb:PutItem']]);
});

test('the nightly comparison reads the two stores and itself, and is started by the schedule alone', () => {
  const role = (beginning: string) =>
    properties(of('cqrs'), 'AWS::IAM::Role').find(([id]) => id.startsWith(beginning))![0];
  const may = statementsOf(of('cqrs'), role('VerificationRole'))
    .map(({ actions, resources }) => `${actions} ${resources}`)
    .join('\n');
  assert.match(may, /^dynamodb:Scan,dynamodb:BatchGetItem <StoresWrite\w+\.Arn>,<StoresReadV1\w+\.Arn>$/m);
  assert.match(may, /^dynamodb:DescribeTable <StoresWrite\w+\.Arn>$/m);
  assert.doesNotMatch(may, /dynamodb:(Put|Update|Delete)|\s\*$/);
  const starts = statementsOf(of('cqrs'), role('SchedulerRole')).map(
    ({ actions, resources }) => `${actions} ${resources}`,
  );
  assert.equal(starts.length, 1);
  assert.match(starts[0]!, /^codebuild:StartBuild <VerificationProject\w+\.Arn>$/);
});

test('what shifts invocations to new versions may do so for these functions alone', () => {
  for (const { stage, functions } of ROWS) {
    const role = properties(of(stage), 'AWS::IAM::Role').find(([id]) => id.startsWith('Rollout'))![0];
    const may = statementsOf(of(stage), role);
    for (const { actions, resources } of may) {
      const isOfAlarms = actions.join() === 'cloudwatch:DescribeAlarms';
      assert.ok(isOfAlarms || actions.every((action) => /^lambda:(Get|UpdateAlias)/.test(action)), actions.join());
      const named = functions.flatMap((name) => ['', ':live'].map((ending) => `:function:watershed-${name}${ending}`));
      assert.ok(isOfAlarms || resources.every((on) => named.some((ending) => on.endsWith(ending))), resources.join());
    }
  }
});

test('the pipe of domain events reads the stream and puts events, and no more', () => {
  const from = template('cqrs', { domainEvents: true });
  const role = properties(from, 'AWS::IAM::Role').find(([id]) => id.startsWith('DomainEvents'))![0];
  const may = statementsOf(from, role).map(({ actions, resources }) => `${actions} ${resources}`);
  assert.equal(may.length, 3);
  assert.match(
    may.join('\n'),
    /^dynamodb:DescribeStream,dynamodb:GetRecords,dynamodb:GetShardIterator <StoresWrite\w+\.StreamArn>$/m,
  );
  assert.match(may.join('\n'), /^events:PutEvents <DomainEventsBus\w+\.Arn>$/m);
  assert.match(may.join('\n'), /^sqs:SendMessage <DomainEventsDeadLetters\w+\.Arn>$/m);
});
