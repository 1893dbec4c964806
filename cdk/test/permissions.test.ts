import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Template } from 'aws-cdk-lib/assertions';
import { type StageConfig, stageOf, usesRedis } from '../lib/stages';
import { differences, DOCUMENTED, granted, statements } from './grants';
import { type Statement, statementsOf } from './policies';
import { config, functionOf, prod, properties, STAGES, synthesise, template } from './support';

/** Returns the differences of all functions at these stages. */
function allDifferences(templates: Map<string, Template>, grantsOf = granted): string[] {
  return [...templates].flatMap(([stage, from]) =>
    stageOf(stage).functions.flatMap(({ name }) =>
      differences(from, name, grantsOf(name, stageOf(stage))).map((difference) => `${stage}: ${difference}`),
    ),
  );
}

test('docs/security.md has a table for every stage, with every binary of the stage and no other', () => {
  assert.deepEqual([...DOCUMENTED.keys()].sort(), ['everywhere', ...STAGES.map((row) => row.stage)].sort());
  for (const { stage, binaries } of STAGES) {
    assert.deepEqual([...DOCUMENTED.get(stage)!.keys()].sort(), [...binaries].sort(), stage);
  }
});

test('each function has exactly the permissions in docs/security.md', () => {
  assert.deepEqual(allDifferences(new Map(STAGES.map(({ stage }) => [stage, prod(stage)]))), []);
});

test('with a FIFO queue each function has the same permissions', () => {
  const queue = { fifo: true, batchSize: 10, windowSeconds: 0, pollers: { maximumConcurrency: 5 }, reserved: false };
  const rows = STAGES.filter((row) => row.queue_deployed);
  assert.deepEqual(allDifferences(synthesise(rows, config({ queue }))), []);
});

test('without Redis no function may use a cache or the network', () => {
  const rows = STAGES.filter((row) => row.writes_redis);
  const without = (name: string, row: StageConfig) => {
    const grants = granted(name, { ...row, caches: [], writes_redis: false });
    grants.delete('cache');
    return grants;
  };
  assert.deepEqual(allDifferences(synthesise(rows, config({ redis: false })), without), []);
});

test('with tracing every function may send traces as well', () => {
  const traced = (name: string, row: StageConfig) => {
    const grants = granted(name, row);
    grants.set('anything', [
      ...(grants.get('anything') ?? []),
      ...DOCUMENTED.get('everywhere')!.get('a traced function')!.get('anything')!,
    ]);
    return grants;
  };
  assert.deepEqual(allDifferences(synthesise(STAGES, config({ tracing: true })), traced), []);
});

const ROLE = functionOf(prod('cqrs'), 'write-fn').Role['Fn::GetAtt'][0];
const STREAM = 'arn:aws:kinesis:eu-central-1:111122223333:stream/other';

/** Returns the differences of write-fn at `cqrs` from the document, after a change to its policy or to other resources. */
function diffAfter(change: (policy: any[], resources: any, readTable: object) => void): string {
  const changed = structuredClone(prod('cqrs').toJSON());
  const policy = changed.Resources[ROLE].Properties.Policies[0].PolicyDocument.Statement;
  const [id] = properties(prod('cqrs'), 'AWS::DynamoDB::GlobalTable').find(([id]) => id.startsWith('StoresRead'))!;
  change(policy, changed.Resources, { 'Fn::GetAtt': [id, 'Arn'] });
  return differences(Template.fromJSON(changed), 'write-fn', granted('write-fn', stageOf('cqrs'))).join('\n');
}

test('the comparison finds each extra permission, on any resource and under any condition', () => {
  const allowing = (Action: string, Resource: any, more = {}) => ({ Effect: 'Allow', Action, Resource, ...more });
  const only = { Condition: { StringEquals: { 'aws:RequestedRegion': 'eu-central-1' } } };
  assert.equal(
    diffAfter(() => {}),
    '',
  );
  assert.match(
    diffAfter((policy, _, readTable) => policy.push(allowing('dynamodb:Scan', readTable))),
    /write-fn may dynamodb:Scan on read table$/,
  );
  assert.match(
    diffAfter((policy, _, readTable) => policy.push(allowing('dynamodb:PutItem', readTable, only))),
    /may dynamodb:PutItem on read table$/,
  );
  assert.match(
    diffAfter((policy) => policy.push(allowing('kinesis:PutRecord', STREAM))),
    /may kinesis:PutRecord on arn:aws:kinesis/,
  );
  assert.match(
    diffAfter((policy, _, readTable) => policy.push(allowing('dynamodb:Get*', readTable))),
    /may dynamodb:Get\* on read table$/,
  );
  assert.match(
    diffAfter((policy) => policy.push(allowing('sqs:SendMessage', '*'))),
    /may sqs:SendMessage on anything$/,
  );
  assert.throws(
    () => diffAfter((policy) => policy.push({ Effect: 'Allow', NotAction: 'sqs:SendMessage', Resource: '*' })),
    /not understood/,
  );
});

test('the comparison reads every policy that is attached to the role', () => {
  const document = {
    PolicyDocument: { Statement: [{ Effect: 'Allow', Action: 'kinesis:PutRecord', Resource: STREAM }] },
  };
  const [role, other] = [{ Ref: ROLE }, { Ref: 'Another' }];
  const attach = (Type: string, more: object) =>
    diffAfter((_, resources) => (resources.Attached = { Type, Properties: { ...document, ...more } }));
  assert.match(attach('AWS::IAM::Policy', { Roles: [other, role] }), /may kinesis:PutRecord/);
  assert.match(attach('AWS::IAM::ManagedPolicy', { Roles: [role] }), /may kinesis:PutRecord/);
  assert.match(attach('AWS::IAM::RolePolicy', { RoleName: role }), /may kinesis:PutRecord/);
  assert.equal(attach('AWS::IAM::RolePolicy', { RoleName: other }), '');
  assert.throws(() => attach('AWS::IAM::ManagedPolicy', { Roles: ['by-name'] }), /cannot tell which role/);
  assert.throws(
    () => diffAfter((_, resources) => (resources[ROLE].Properties.ManagedPolicyArns = ['arn:aws:iam::aws:policy/Any'])),
    /not in the template/,
  );
});

test('the comparison finds each missing permission and each missing resource', () => {
  const sends = (policy: any[]) => policy.find(({ Action }) => Action === 'sqs:SendMessage');
  const tooLittle = /write-fn may not sqs:SendMessage on command queue$/;
  assert.match(
    diffAfter((policy) => policy.splice(policy.indexOf(sends(policy)), 1)),
    tooLittle,
  );
  assert.match(
    diffAfter((policy) => (sends(policy).Condition = { Bool: { 'aws:SecureTransport': 'true' } })),
    tooLittle,
  );
  assert.match(
    diffAfter((policy) => policy.push({ ...sends(policy), Effect: 'Deny', Action: 'sqs:*' })),
    tooLittle,
  );
  assert.match(
    diffAfter((_, resources) => {
      for (const [id] of properties(prod('cqrs'), 'AWS::SQS::Queue')) {
        delete resources[id];
      }
    }),
    /write-fn has no command queue$/,
  );
});

test('in cqrs read-fn cannot use the write store, and write-fn cannot use Redis or the network', () => {
  const [read, write] = [statements(prod('cqrs'), 'read-fn'), statements(prod('cqrs'), 'write-fn')];
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

test('no action has a wildcard, and only the documented resources have one', () => {
  for (const row of STAGES) {
    for (const { name } of row.functions) {
      const wild = statements(prod(row.stage), name).flatMap((statement) => {
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
          /^(logs,logs arn:aws:logs:\S+:log-group:\/aws\/lambda\/watershed-[a-z-]+:\*|(ec2,)*ec2 \*)$/,
        );
      }
    }
  }
});

test('the code of a function cannot use the permissions for network interfaces', () => {
  for (const row of STAGES) {
    for (const { name } of row.functions.filter((spec) => usesRedis(row, spec))) {
      const policy = statements(prod(row.stage), name);
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

test('only the intended AWS service can assume a role, and no role has a managed policy', () => {
  for (const { stage } of STAGES) {
    for (const [id, role] of properties(prod(stage), 'AWS::IAM::Role')) {
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

test('only the front door may invoke functions, and no resource policy allows anything', () => {
  for (const { stage } of STAGES) {
    for (const [id, permission] of properties(prod(stage), 'AWS::Lambda::Permission')) {
      assert.equal(permission.Principal, 'apigateway.amazonaws.com', id);
      assert.match(JSON.stringify(permission.SourceArn), /ApiHttpApi/, id);
    }
    for (const [id, { PolicyDocument }] of properties(prod(stage), 'AWS::SQS::QueuePolicy')) {
      assert.ok(
        PolicyDocument.Statement.every(({ Effect }: any) => Effect === 'Deny'),
        id,
      );
    }
    for (const [id, { Replicas }] of properties(prod(stage), 'AWS::DynamoDB::GlobalTable')) {
      assert.equal(Replicas[0].ResourcePolicy, undefined, id);
    }
  }
});

test('while one read store replaces another, functions have the same permissions on both', () => {
  for (const row of STAGES.filter((row) => row.queue_deployed)) {
    for (const [projection, otherProjection] of [
      [1, 2],
      [2, 1],
    ]) {
      const from = template(row.stage, { projection, otherProjection });
      for (const { name } of row.functions) {
        const own = granted(name, row);
        const ofOther = [...own].filter(([on]) => on.startsWith('read table')).map(([on, may]) => [`other ${on}`, may]);
        const grants = new Map([...own, ...(ofOther as [string, string[]][])]);
        assert.deepEqual(differences(from, name, grants), [], row.stage);
      }
    }
  }
});

test('the nightly comparison may read both stores and the queue, and only the schedule may start it', () => {
  const role = (beginning: string) =>
    properties(prod('cqrs'), 'AWS::IAM::Role').find(([id]) => id.startsWith(beginning))![0];
  const allowed = statementsOf(prod('cqrs'), role('VerificationRole'))
    .map(({ actions, resources }) => `${actions} ${resources}`)
    .join('\n');
  assert.match(allowed, /^dynamodb:Scan,dynamodb:BatchGetItem <StoresWrite\w+\.Arn>,<StoresReadV1\w+\.Arn>$/m);
  assert.match(allowed, /^dynamodb:DescribeTable <StoresWrite\w+\.Arn>$/m);
  assert.match(allowed, /^sqs:GetQueueAttributes <CommandQueue\w+\.Arn>$/m);
  assert.doesNotMatch(allowed, /dynamodb:(Put|Update|Delete)|\s\*$/);
  const starts = statementsOf(prod('cqrs'), role('SchedulerRole')).map(
    ({ actions, resources }) => `${actions} ${resources}`,
  );
  assert.equal(starts.length, 2);
  assert.match(starts[0]!, /^codebuild:StartBuild <VerificationProject\w+\.Arn>$/);
  assert.match(starts[1]!, /^sqs:SendMessage <VerificationDeadLetters\w+\.Arn>$/);
});

test('CodeDeploy may move the aliases of the functions of the stage only', () => {
  for (const { stage, functions } of STAGES) {
    const role = properties(prod(stage), 'AWS::IAM::Role').find(([id]) => id.startsWith('Rollout'))![0];
    const allowed = statementsOf(prod(stage), role);
    for (const { actions, resources } of allowed) {
      const isOfAlarms = actions.join() === 'cloudwatch:DescribeAlarms';
      assert.ok(isOfAlarms || actions.every((action) => /^lambda:(Get|UpdateAlias)/.test(action)), actions.join());
      const named = functions.flatMap(({ name }) =>
        ['', ':live'].map((ending) => `:function:watershed-${name}${ending}`),
      );
      assert.ok(isOfAlarms || resources.every((on) => named.some((ending) => on.endsWith(ending))), resources.join());
    }
  }
});

test('the pipe of domain events may read the stream, put events and send dead letters, and nothing else', () => {
  const from = template('cqrs', { domainEvents: true });
  const role = properties(from, 'AWS::IAM::Role').find(([id]) => id.startsWith('DomainEvents'))![0];
  const allowed = statementsOf(from, role).map(({ actions, resources }) => `${actions} ${resources}`);
  assert.equal(allowed.length, 4);
  assert.ok(allowed.includes('dynamodb:ListStreams *'), allowed.join());
  assert.match(
    allowed.join('\n'),
    /^dynamodb:DescribeStream,dynamodb:GetRecords,dynamodb:GetShardIterator <StoresWrite\w+\.StreamArn>$/m,
  );
  assert.match(allowed.join('\n'), /^events:PutEvents <DomainEventsBus\w+\.Arn>$/m);
  assert.match(allowed.join('\n'), /^sqs:SendMessage <DomainEventsDeadLetters\w+\.Arn>$/m);
});
