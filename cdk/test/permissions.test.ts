import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Template } from 'aws-cdk-lib/assertions';
import { type FunctionName, type Row, rowOf, usesRedis } from '../lib/stages';
import { allowances, isAllowed, type Statement, statementsOf } from './policies';
import { config, functionOf, of, properties, ROWS, synthesise, template } from './support';

const DOCUMENT = '../docs/security.md';

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
function granted(row: Row, name: FunctionName, redis: boolean): Map<string, string[]> {
  const everywhere = DOCUMENTED.get('everywhere')!;
  const every = everywhere.get('every function')!;
  const network = redis && usesRedis(row, name) ? everywhere.get('who uses the cache')!.get('anything')! : [];
  const own = [...DOCUMENTED.get(row.stage)!.get(name)!].filter(([on]) => redis || on !== 'cache');
  return new Map([...own, ['its log', every.get('its log')!], ['anything', [...every.get('anything')!, ...network]]]);
}

/** The resources that a function may have to do with, by what the document calls them, as a policy must name them. */
function resources(from: Template, name: FunctionName): [called: string, resource: string][] {
  const found: [string, string][] = [];
  for (const [id, table] of properties(from, 'AWS::DynamoDB::GlobalTable')) {
    const called = `${table.TableName.replace(/^watershed-/, '').replace(/-v1$/, '')} table`;
    found.push([called, `<${id}.Arn>`]);
    for (const { IndexName } of table.GlobalSecondaryIndexes ?? []) {
      found.push([`${called}'s indexes`, `<${id}.Arn>/index/${IndexName}`]);
    }
  }
  for (const [id, { QueueName }] of properties(from, 'AWS::SQS::Queue')) {
    found.push([/-dlq(\.fifo)?$/.test(QueueName) ? 'dead letters' : 'command queue', `<${id}.Arn>`]);
  }
  const arn = (service: string, rest: string) => `arn:aws:${service}:eu-central-1:111122223333:${rest}`;
  for (const [, { ServerlessCacheName }] of properties(from, 'AWS::ElastiCache::ServerlessCache')) {
    found.push(['cache', arn('elasticache', `serverlesscache:${ServerlessCacheName}`)]);
  }
  for (const [, { UserName }] of properties(from, 'AWS::ElastiCache::User')) {
    found.push(['cache', arn('elasticache', `user:${UserName}`)]);
  }
  return [
    ...found,
    ['signing keys', config().signingKeysSecret],
    ['its log', arn('logs', `log-group:/aws/lambda/watershed-${name}:*`)],
    ['anything', '*'],
  ];
}

function statements(from: Template, name: FunctionName): Statement[] {
  return statementsOf(from, functionOf(from, name).Role['Fn::GetAtt'][0]);
}

/** What is allowed and should not be, under whatever condition; and what should be, and is not without one. */
function differences(row: Row, from: Template, name: FunctionName, redis = true): string[] {
  const [policy, grants, known] = [statements(from, name), granted(row, name, redis), resources(from, name)];
  const called = new Map(known.map(([called, resource]) => [resource, called]));
  const tooMuch = allowances(policy)
    .filter(([action, resource]) => !grants.get(called.get(resource) ?? '')?.includes(action))
    .map(([action, resource]) => `may ${action} on ${called.get(resource) ?? resource}`);
  const tooLittle = [...grants].flatMap(([on, actions]) => {
    const named = known.filter(([called]) => called === on);
    const missing = actions.filter((action) => !named.every(([, resource]) => isAllowed(policy, action, resource)));
    return named.length === 0 ? [`has no ${on}`] : missing.map((action) => `may not ${action} on ${on}`);
  });
  return [...tooMuch, ...tooLittle].map((difference) => `${row.stage}: ${name} ${difference}`);
}

/** All of all functions, at these rows. */
function allDifferences(templates: Map<string, Template>, redis = true): string[] {
  return [...templates].flatMap(([stage, from]) =>
    rowOf(stage).functions.flatMap((name) => differences(rowOf(stage), from, name, redis)),
  );
}

test('the document has a table for every row, and names every function of it and no other', () => {
  assert.deepEqual([...DOCUMENTED.keys()].sort(), ['everywhere', ...ROWS.map((row) => row.stage)].sort());
  for (const { stage, functions } of ROWS) {
    assert.deepEqual([...DOCUMENTED.get(stage)!.keys()].sort(), [...functions].sort(), stage);
  }
});

test('each function may do what the document says, on what it says, and nothing more', () => {
  assert.deepEqual(allDifferences(new Map(ROWS.map(({ stage }) => [stage, of(stage)]))), []);
});

test('nor may it do anything else with a FIFO queue', () => {
  const queue = { fifo: true, batchSize: 10, windowSeconds: 0, pollers: { maximumConcurrency: 5 }, reserved: false };
  const rows = ROWS.filter((row) => row.queue_deployed);
  assert.deepEqual(allDifferences(synthesise(rows, config({ queue }))), []);
});

test('without Redis nobody may use a cache or the network', () => {
  const rows = ROWS.filter((row) => row.writes_redis);
  assert.deepEqual(allDifferences(synthesise(rows, config({ redis: false })), false), []);
});

const ROLE = functionOf(of('cqrs'), 'write-fn').Role['Fn::GetAtt'][0];
const STREAM = 'arn:aws:kinesis:eu-central-1:111122223333:stream/other';

/** What the matrix says of write-fn in `cqrs` where its policy, or something besides, is changed. */
function noticed(change: (policy: any[], resources: any, readTable: object) => void): string {
  const changed = structuredClone(of('cqrs').toJSON());
  const policy = changed.Resources[ROLE].Properties.Policies[0].PolicyDocument.Statement;
  const [id] = properties(of('cqrs'), 'AWS::DynamoDB::GlobalTable').find(([id]) => id.startsWith('StoresRead'))!;
  change(policy, changed.Resources, { 'Fn::GetAtt': [id, 'Arn'] });
  return differences(rowOf('cqrs'), Template.fromJSON(changed), 'write-fn').join('\n');
}

test('the matrix notices what is allowed too much, wherever and under whatever condition', () => {
  const allowing = (Action: string, Resource: any, more = {}) => ({ Effect: 'Allow', Action, Resource, ...more });
  const only = { Condition: { StringEquals: { 'aws:RequestedRegion': 'eu-central-1' } } };
  assert.equal(
    noticed(() => {}),
    '',
  );
  assert.match(
    noticed((policy, _, readTable) => policy.push(allowing('dynamodb:Scan', readTable))),
    /write-fn may dynamodb:Scan on read table$/,
  );
  assert.match(
    noticed((policy, _, readTable) => policy.push(allowing('dynamodb:PutItem', readTable, only))),
    /may dynamodb:PutItem on read table$/,
  );
  assert.match(
    noticed((policy) => policy.push(allowing('kinesis:PutRecord', STREAM))),
    /may kinesis:PutRecord on arn:aws:kinesis/,
  );
  assert.match(
    noticed((policy, _, readTable) => policy.push(allowing('dynamodb:Get*', readTable))),
    /may dynamodb:Get\* on read table$/,
  );
  assert.match(
    noticed((policy) => policy.push(allowing('sqs:SendMessage', '*'))),
    /may sqs:SendMessage on anything$/,
  );
  assert.throws(
    () => noticed((policy) => policy.push({ Effect: 'Allow', NotAction: 'sqs:SendMessage', Resource: '*' })),
    /not understood/,
  );
});

test('the matrix reads every policy that is attached to the role', () => {
  const document = {
    PolicyDocument: { Statement: [{ Effect: 'Allow', Action: 'kinesis:PutRecord', Resource: STREAM }] },
  };
  const [role, other] = [{ Ref: ROLE }, { Ref: 'Another' }];
  const attach = (Type: string, more: object) =>
    noticed((_, resources) => (resources.Attached = { Type, Properties: { ...document, ...more } }));
  assert.match(attach('AWS::IAM::Policy', { Roles: [other, role] }), /may kinesis:PutRecord/);
  assert.match(attach('AWS::IAM::ManagedPolicy', { Roles: [role] }), /may kinesis:PutRecord/);
  assert.match(attach('AWS::IAM::RolePolicy', { RoleName: role }), /may kinesis:PutRecord/);
  assert.equal(attach('AWS::IAM::RolePolicy', { RoleName: other }), '');
  assert.throws(() => attach('AWS::IAM::ManagedPolicy', { Roles: ['by-name'] }), /cannot tell which role/);
  assert.throws(
    () => noticed((_, resources) => (resources[ROLE].Properties.ManagedPolicyArns = ['arn:aws:iam::aws:policy/Any'])),
    /not in the template/,
  );
});

test('the matrix notices what is allowed too little, and what is documented and is not there', () => {
  const sends = (policy: any[]) => policy.find(({ Action }) => Action === 'sqs:SendMessage');
  const tooLittle = /write-fn may not sqs:SendMessage on command queue$/;
  assert.match(
    noticed((policy) => policy.splice(policy.indexOf(sends(policy)), 1)),
    tooLittle,
  );
  assert.match(
    noticed((policy) => (sends(policy).Condition = { Bool: { 'aws:SecureTransport': 'true' } })),
    tooLittle,
  );
  assert.match(
    noticed((policy) => policy.push({ ...sends(policy), Effect: 'Deny', Action: 'sqs:*' })),
    tooLittle,
  );
  assert.match(
    noticed((_, resources) => {
      for (const [id] of properties(of('cqrs'), 'AWS::SQS::Queue')) {
        delete resources[id];
      }
    }),
    /write-fn has no command queue$/,
  );
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
    allowances(statements(from, name)).flatMap(([action, on]) => (on.startsWith(`<${other}.`) ? [action] : []));
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
