import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rowOf, usesRedis } from '../lib/stages';
import { differences, DOCUMENTED, granted, resources, statements } from './grants';
import { type Statement, statementsOf } from './policies';
import { of, properties, ROWS, template } from './support';

test('the document has a table for every row, and names every function of it and no other', () => {
  assert.deepEqual([...DOCUMENTED.keys()].sort(), ['everywhere', ...ROWS.map((row) => row.stage)].sort());
  for (const { stage, functions } of ROWS) {
    assert.deepEqual([...DOCUMENTED.get(stage)!.keys()].sort(), [...functions].sort(), stage);
  }
});

test('each function may do what the document says, on what it says, and nothing more', () => {
  for (const row of ROWS) {
    for (const name of row.functions) {
      assert.deepEqual(differences(of(row.stage), name, granted(name, row)), [], row.stage);
    }
  }
});

test('what the document grants is there to be granted', () => {
  for (const row of ROWS) {
    for (const name of row.functions) {
      const known = new Set(resources(of(row.stage), name).map(([called]) => called));
      const unknown = [...granted(name, row).keys()].filter((on) => on !== 'anything' && !known.has(on));
      assert.deepEqual(unknown, [], `${name} at ${row.stage}`);
    }
  }
});

test('the matrix notices what is allowed too much and too little', () => {
  const row = rowOf('cqrs');
  const grants = DOCUMENTED.get('cqrs')!.get('write-fn')!;
  const before = grants.get('read table')!;
  const found = () => differences(of('cqrs'), 'write-fn', granted('write-fn', row));
  grants.set('read table', []);
  assert.match(found().join(), /write-fn may dynamodb:GetItem on read table/);
  grants.set('read table', [...before, 'dynamodb:Scan']);
  assert.match(found().join(), /write-fn may not dynamodb:Scan on read table/);
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

test('while one read store takes the place of another, who uses the one may use the other in the same way', () => {
  for (const row of ROWS.filter((row) => row.queue_deployed)) {
    for (const [projection, otherProjection] of [
      [1, 2],
      [2, 1],
    ]) {
      const from = template(row.stage, { projection, otherProjection });
      for (const name of row.functions) {
        const own = granted(name, row);
        const ofOther = [...own].filter(([on]) => on.startsWith('read table')).map(([on, may]) => [`other ${on}`, may]);
        const grants = new Map([...own, ...(ofOther as [string, string[]][])]);
        assert.deepEqual(differences(from, name, grants), [], row.stage);
      }
    }
  }
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

test('the pipe of domain events finds and reads the stream, and puts events, and no more', () => {
  const from = template('cqrs', { domainEvents: true });
  const role = properties(from, 'AWS::IAM::Role').find(([id]) => id.startsWith('DomainEvents'))![0];
  const may = statementsOf(from, role).map(({ actions, resources }) => `${actions} ${resources}`);
  assert.equal(may.length, 4);
  assert.ok(may.includes('dynamodb:ListStreams *'), may.join());
  assert.match(
    may.join('\n'),
    /^dynamodb:DescribeStream,dynamodb:GetRecords,dynamodb:GetShardIterator <StoresWrite\w+\.StreamArn>$/m,
  );
  assert.match(may.join('\n'), /^events:PutEvents <DomainEventsBus\w+\.Arn>$/m);
  assert.match(may.join('\n'), /^sqs:SendMessage <DomainEventsDeadLetters\w+\.Arn>$/m);
});
