import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Match, type Template } from 'aws-cdk-lib/assertions';
import { SERVICE } from '../lib/service';
import { stageOf, usesRedis } from '../lib/stages';
import { answering, functionsOf, ROUTES } from './expected';
import { functionOf, prod, properties, STAGES, template, WITH_USERS } from './support';

const QUEUED = STAGES.filter((row) => row.queue_deployed);

// The stages

test('every stage deploys its functions, and no others', () => {
  for (const row of STAGES) {
    const deployed = properties(prod(row.stage), 'AWS::Lambda::Function').map(([, { FunctionName }]) => FunctionName);
    const wanted = functionsOf(row).map((name) => `watershed-${name}`);
    assert.deepEqual(deployed.sort(), wanted.sort(), row.stage);
  }
});

test('functions, roles and routes of users keep the logical ids that they always had', WITH_USERS, () => {
  const resources = prod('single-responsibility').toJSON().Resources;
  const known: [id: string, type: string, name?: string][] = [
    ['Functionscreateuserfn669BE89A', 'AWS::Lambda::Function', 'watershed-create-user-fn'],
    ['Functionsgetuserfn3C14C57D', 'AWS::Lambda::Function', 'watershed-get-user-fn'],
    ['Functionslistusersfn211F01A1', 'AWS::Lambda::Function', 'watershed-list-users-fn'],
    ['FunctionsgetcommandfnCCBD4119', 'AWS::Lambda::Function', 'watershed-get-command-fn'],
    ['FunctionscreateuserfnroleA569CE9C', 'AWS::IAM::Role'],
    ['FunctionslistusersfnroleBF05385B', 'AWS::IAM::Role'],
    ['ApiHttpApiGETusers9B7CE5A9', 'AWS::ApiGatewayV2::Route', 'GET /users'],
    ['ApiHttpApiPUTusersid62AA2C2C', 'AWS::ApiGatewayV2::Route', 'PUT /users/{id}'],
    ['ApiHttpApiGETcommandsid8CACACA0', 'AWS::ApiGatewayV2::Route', 'GET /commands/{id}'],
    ['ApiF70053CD', 'AWS::ApiGatewayV2::Route', '$default'],
  ];
  for (const [id, type, name] of known) {
    const { Type, Properties } = resources[id] ?? {};
    assert.deepEqual([Type, Properties?.FunctionName ?? Properties?.RouteKey], [type, name], id);
  }
});

test('every function gets the name of its stage', () => {
  for (const { stage } of STAGES) {
    for (const [, { Environment }] of properties(prod(stage), 'AWS::Lambda::Function')) {
      assert.equal(Environment.Variables.STAGE, stage);
    }
  }
});

test('resources with data keep their logical id and definition at every stage', () => {
  for (const type of [
    'AWS::DynamoDB::GlobalTable',
    'AWS::SQS::Queue',
    'AWS::ApiGatewayV2::Api',
    'AWS::ElastiCache::ServerlessCache',
  ]) {
    const seen = new Map<string, string>();
    for (const { stage } of STAGES) {
      for (const [id, found] of properties(prod(stage), type)) {
        const text = JSON.stringify(found);
        assert.equal(seen.get(id) ?? text, text, `${id} at ${stage}`);
        seen.set(id, text);
      }
    }
    const kinds = { 'AWS::DynamoDB::GlobalTable': 3, 'AWS::SQS::Queue': 3 } as Record<string, number>;
    assert.equal(seen.size, kinds[type] ?? 1, type);
  }
});

/** The types that each function creates again, with names from their logical ids. So two equal ones never collide. */
const RECREATED = ['AWS::Lambda::Version', 'AWS::CodeDeploy::DeploymentGroup'];

test('no resource has two logical ids at two stages, so no step creates an existing resource again', () => {
  const ids = (stage: string) => {
    const resources = Object.entries<any>(prod(stage).toJSON().Resources);
    const kept = resources.filter(([, { Type }]) => !RECREATED.includes(Type));
    return new Map(kept.map(([id, { Type, Properties }]) => [id, JSON.stringify([Type, Properties])]));
  };
  for (const from of STAGES) {
    for (const to of STAGES) {
      const [before, after] = [ids(from.stage), ids(to.stage)];
      const removed = new Map([...before].filter(([id]) => !after.has(id)).map(([id, text]) => [text, id]));
      const recreated = [...after].filter(([id, text]) => !before.has(id) && removed.has(text));
      assert.deepEqual(recreated, [], `from ${from.stage} to ${to.stage}`);
    }
  }
});

test('the network is the same at every stage', () => {
  const networks = STAGES.filter((row) => row.writes_redis && !row.queue_deployed).map(({ stage }) => {
    const resources = Object.entries<any>(prod(stage).toJSON().Resources);
    return Object.fromEntries(resources.filter(([id]) => /^(Network|Cache)/.test(id)));
  });
  const [first, ...others] = networks;
  assert.ok(Object.keys(first!).length > 15);
  for (const other of others) {
    assert.deepEqual(other, first);
  }
});

test('no step forward removes a table, and a step back removes only the read store', () => {
  const tables = (stage: string) =>
    properties(prod(stage), 'AWS::DynamoDB::GlobalTable').map(([, { TableName }]) => TableName);
  for (const [index, row] of STAGES.slice(1).entries()) {
    const [before, after] = [tables(STAGES[index]!.stage), tables(row.stage)];
    assert.deepEqual(
      before.filter((table) => !after.includes(table)),
      [],
      row.stage,
    );
    const created = after.filter((table) => !before.includes(table));
    assert.deepEqual(created, row.stage === 'read-store-expand' ? ['watershed-read-v1'] : [], row.stage);
  }
});

test('the stack has the same name at every stage', () => {
  for (const { stage } of STAGES) {
    assert.equal(prod(stage).toJSON().Outputs.Stage.Value, stage);
    prod(stage).hasResourceProperties('AWS::ApiGatewayV2::Api', { Name: 'watershed' });
  }
});

// The front door

test('each route with data requires a token with its scope, and no other route exists', () => {
  const wanted = Object.fromEntries([...ROUTES].map(([routeKey, { scopes }]) => [routeKey, scopes]));
  for (const { stage } of STAGES) {
    const routes = properties(prod(stage), 'AWS::ApiGatewayV2::Route').map(([, route]) => route);
    const scopes = Object.fromEntries(
      routes.map(({ RouteKey, AuthorizationScopes }) => [RouteKey, AuthorizationScopes?.join()]),
    );
    assert.deepEqual(scopes, { ...wanted, $default: undefined }, stage);
    for (const { RouteKey, AuthorizationType } of routes) {
      assert.equal(AuthorizationType, RouteKey === '$default' ? 'NONE' : 'JWT', RouteKey);
    }
  }
});

test('tokens are checked against the issuer and the audience of the configuration', () => {
  prod('cqrs').hasResourceProperties('AWS::ApiGatewayV2::Authorizer', {
    AuthorizerType: 'JWT',
    IdentitySource: ['$request.header.Authorization'],
    JwtConfiguration: { Issuer: 'https://issuer.example.com/', Audience: ['watershed'] },
  });
});

/** Returns the function of each route. */
function targets(stage: string): Map<string, string> {
  const from = prod(stage);
  const { Resources } = from.toJSON();
  const routes = properties(from, 'AWS::ApiGatewayV2::Route').map(([, { RouteKey, Target }]): [string, string] => {
    const integration = Resources[Target['Fn::Join'][1][1].Ref].Properties;
    assert.equal(integration.PayloadFormatVersion, '2.0');
    const alias = Resources[integration.IntegrationUri.Ref].Properties;
    return [RouteKey, Resources[alias.FunctionName.Ref].Properties.FunctionName.replace('watershed-', '')];
  });
  return new Map(routes);
}

test('each route leads to its function, and all other requests to the function that answers 404 and 405', () => {
  for (const row of STAGES) {
    for (const [routeKey, name] of targets(row.stage)) {
      assert.equal(name, answering(row, routeKey), `${routeKey} at ${row.stage}`);
    }
  }
});

test('reads and writes of users go to the functions that the documents name', WITH_USERS, () => {
  const read = { 'GET /users/{id}': 'read-fn', 'HEAD /commands/{id}': 'read-fn', $default: 'read-fn' };
  const write = { 'POST /users': 'write-fn', 'DELETE /users': 'write-fn', 'PATCH /users/{id}': 'write-fn' };
  const cases: Record<string, Record<string, string>> = {
    cqrs: { ...read, ...write },
    'read-write': { ...read, ...write },
    'lambda-lith': { 'GET /users': 'lith-fn', 'POST /users': 'lith-fn', $default: 'lith-fn' },
    'single-responsibility': {
      'GET /users': 'list-users-fn',
      'GET /users/{id}': 'get-user-fn',
      'GET /commands/{id}': 'get-command-fn',
      'POST /users': 'create-user-fn',
      'PUT /users': 'create-user-fn',
      'PUT /users/{id}': 'replace-user-fn',
      'POST /users/{id}': 'replace-user-fn',
      'PATCH /users/{id}': 'update-user-fn',
      'DELETE /users/{id}': 'delete-user-fn',
      $default: 'get-command-fn',
    },
  };
  for (const [stage, routes] of Object.entries(cases)) {
    for (const [routeKey, name] of Object.entries(routes)) {
      assert.equal(targets(stage).get(routeKey), name, `${routeKey} at ${stage}`);
    }
  }
});

test('requests are throttled, and those without a token at a lower rate', () => {
  const throttles = (from: Template) => {
    const [[, stage]] = properties(from, 'AWS::ApiGatewayV2::Stage') as [[string, any]];
    assert.deepEqual(Object.keys(stage.RouteSettings), ['$default']);
    return [stage.DefaultRouteSettings, stage.RouteSettings.$default];
  };
  const limits = (rate: number, burst: number) => ({ ThrottlingBurstLimit: burst, ThrottlingRateLimit: rate });
  assert.deepEqual(throttles(prod('cqrs')), [limits(5_000, 2_500), limits(50, 50)]);
  assert.deepEqual(throttles(template('cqrs', { throttle: { rate: 20, burst: 80 } })), [
    limits(20, 80),
    limits(20, 50),
  ]);
});

test('the stage is created after the route that it has settings for', () => {
  for (const { stage } of STAGES) {
    const { Resources } = prod(stage).toJSON();
    const [apiStage] = Object.values<any>(prod(stage).findResources('AWS::ApiGatewayV2::Stage'));
    const routeKeys = apiStage.DependsOn.map((id: string) => Resources[id].Properties.RouteKey);
    assert.deepEqual(routeKeys, ['$default'], stage);
  }
});

/** The variables without text from a client, an issuer or a function. */
const OF_API_GATEWAY = [
  'error.responseType',
  'identity.sourceIp',
  'integration.requestId',
  'integrationLatency',
  'integrationStatus',
  'requestId',
  'requestTime',
  'responseLatency',
  'responseLength',
  'routeKey',
  'status',
];

test('a line of the access log is JSON whatever a client, an issuer or a function writes', () => {
  for (const { stage } of STAGES) {
    const [[, apiStage]] = properties(prod(stage), 'AWS::ApiGatewayV2::Stage') as [[string, any]];
    assert.ok(apiStage.AccessLogSettings.DestinationArn);
    const { Format } = apiStage.AccessLogSettings;
    const variables = [...Format.matchAll(/\$context\.([A-Za-z0-9_.]+)/g)].map(([, name]) => name!);
    assert.deepEqual(variables.sort(), OF_API_GATEWAY, stage);
    assert.equal(Format.split('$').length - 1, variables.length, 'no other variable');
    // API Gateway writes a dash for a missing value.
    const line = JSON.parse(Format.replaceAll(/\$context\.[A-Za-z0-9_.]+/g, '-'));
    assert.ok(Object.values(line).every((value) => value === '-'));
  }
});

// The functions

test('functions run the packages for their architecture, with the right timeout and memory', () => {
  for (const { stage } of STAGES) {
    for (const [, found] of properties(prod(stage), 'AWS::Lambda::Function')) {
      assert.equal(found.Runtime, 'provided.al2023');
      assert.equal(found.Handler, 'bootstrap');
      assert.deepEqual(found.Architectures, ['x86_64']);
      const ingests = found.FunctionName.endsWith('ingest-fn');
      assert.deepEqual([found.MemorySize, found.Timeout], [ingests ? 512 : 256, 10], found.FunctionName);
    }
  }
});

test('ingest-fn has reserved concurrency in prod, and none in dev', () => {
  assert.equal(functionOf(prod('cqrs'), 'ingest-fn').ReservedConcurrentExecutions, 50);
  assert.equal(functionOf(prod('cqrs'), 'read-fn').ReservedConcurrentExecutions, undefined);
  assert.equal(functionOf(template('cqrs', { base: 'dev' }), 'ingest-fn').ReservedConcurrentExecutions, undefined);
});

test('functions that only write have the configured concurrency, and functions that read have no limit', () => {
  const reserved = (stage: string, changes: object) => {
    const found = properties(template(stage, changes), 'AWS::Lambda::Function').map(([, fn]) => fn);
    const limited = found.filter((fn) => fn.ReservedConcurrentExecutions !== undefined);
    return Object.fromEntries(limited.map((fn) => [fn.FunctionName, fn.ReservedConcurrentExecutions]));
  };
  const limit = { writeConcurrency: 200 };
  const writers = [...ROUTES.values()]
    .filter(({ access }) => access === 'write')
    .map(({ name }) => `watershed-${name}`);
  assert.deepEqual(reserved('single-responsibility', limit), Object.fromEntries(writers.map((name) => [name, 200])));
  assert.deepEqual(reserved('lambda-lith', limit), {});
  assert.deepEqual(reserved('read-store', limit), { 'watershed-write-fn': 200 });
  assert.deepEqual(reserved('cqrs', limit), { 'watershed-write-fn': 200, 'watershed-ingest-fn': 50 });
  assert.deepEqual(reserved('cqrs', {}), { 'watershed-ingest-fn': 50 });
});

test('functions log JSON, with the configured retention', () => {
  for (const { stage, functions } of STAGES) {
    for (const [, found] of properties(prod(stage), 'AWS::Lambda::Function')) {
      assert.equal(found.LoggingConfig.LogFormat, 'JSON');
    }
    for (const [id, { RetentionInDays }] of properties(prod(stage), 'AWS::Logs::LogGroup')) {
      assert.equal(RetentionInDays, 90, id);
    }
    prod(stage).resourcePropertiesCountIs(
      'AWS::Logs::LogGroup',
      { LogGroupName: Match.stringLikeRegexp('^/aws/lambda/') },
      functions.length,
    );
  }
});

test('functions are traced only if the configuration says so', () => {
  const modes = (from: Template) =>
    new Set(properties(from, 'AWS::Lambda::Function').map(([, { TracingConfig }]) => TracingConfig.Mode));
  for (const base of ['dev', 'prod']) {
    assert.deepEqual(modes(template('cqrs', { base })), new Set(['PassThrough']));
    assert.deepEqual(modes(template('cqrs', { base, tracing: true })), new Set(['Active']));
  }
});

test('functions with tokens get the ARN of the signing keys, and no function gets the keys in a variable', () => {
  for (const { stage } of STAGES) {
    for (const [, { FunctionName, Environment }] of properties(prod(stage), 'AWS::Lambda::Function')) {
      const { SIGNING_KEYS, SIGNING_KEYS_SECRET } = Environment.Variables;
      assert.equal(SIGNING_KEYS, undefined);
      assert.equal(
        SIGNING_KEYS_SECRET === undefined,
        FunctionName.endsWith('ingest-fn'),
        `${FunctionName} at ${stage}`,
      );
    }
  }
});

test('a higher keysRevision makes a new version of each function that has the keys', () => {
  const raised = template('cqrs', { keysRevision: 2 });
  const versions = (from: Template, name: string) =>
    Object.keys(from.findResources('AWS::Lambda::Version')).filter((id) => id.includes(name));
  for (const name of ['read-fn', 'write-fn', 'ingest-fn']) {
    const revisions = [prod('cqrs'), raised].map(
      (from) => functionOf(from, name).Environment.Variables.SIGNING_KEYS_REVISION,
    );
    const knowsKeys = name !== 'ingest-fn';
    assert.deepEqual(revisions, knowsKeys ? ['1', '2'] : [undefined, undefined], name);
    const [before, after] = [prod('cqrs'), raised].map((from) => versions(from, name.replace('-', '')));
    assert.equal(before!.length, 1);
    assert.equal(before!.join() === after!.join(), !knowsKeys, name);
  }
});

test('a function gets only the variables that it uses', () => {
  const namesOf = (stage: string, name: string) =>
    Object.keys(functionOf(prod(stage), name).Environment.Variables).sort();
  const least = ['COMMANDS_TABLE', 'METRICS', 'SIGNING_KEYS_REVISION', 'SIGNING_KEYS_SECRET', 'STAGE'];
  const always = [...least, 'READ_TABLE'];
  const redis = ['REDIS_IAM_CACHE', 'REDIS_URL'];
  const queue = ['QUEUE_URL', 'VISIBILITY_TIMEOUT_SECONDS'];
  const ofOne = SERVICE.resources.flatMap(({ collection, name }): [string, string, string[]][] => [
    ['single-responsibility', `create-${name}-fn`, [...always, 'RESOURCE', 'WRITE_TABLE']],
    ['single-responsibility', `list-${collection}-fn`, [...least.slice(1), 'READ_TABLE', 'RESOURCE', 'WRITE_TABLE']],
  ]);
  const cases: [string, string, string[]][] = [
    ...ofOne,
    ['single-responsibility', 'get-command-fn', least],
    ['lambda-lith', 'lith-fn', [...always, 'WRITE_TABLE']],
    ['redis-cache-expand', 'read-fn', [...always, 'WRITE_TABLE']],
    ['redis-cache-expand', 'write-fn', [...always, ...redis, 'WRITE_TABLE']],
    ['read-store', 'read-fn', [...always, ...redis]],
    ['cqrs-idle', 'write-fn', [...always, ...redis, 'VISIBILITY_TIMEOUT_SECONDS', 'WRITE_TABLE']],
    ['cqrs-expand', 'write-fn', [...always, ...redis, ...queue, 'WRITE_TABLE']],
    ['cqrs', 'read-fn', [...always, ...redis]],
    ['cqrs', 'write-fn', [...always, ...queue]],
    [
      'cqrs',
      'ingest-fn',
      ['COMMANDS_TABLE', 'METRICS', 'STAGE', ...redis, ...queue, 'READ_TABLE', 'WRITE_TABLE', 'MAX_RECEIVE_COUNT'],
    ],
  ];
  for (const [stage, name, variables] of cases) {
    assert.deepEqual(namesOf(stage, name), variables.sort(), `${name} at ${stage}`);
  }
});

test('a function of one resource or action gets its name, and a function of all gets none', () => {
  const settings = (row: (typeof STAGES)[number]) =>
    functionsOf(row).map((name) => {
      const { RESOURCE, ACTION } = functionOf(prod(row.stage), name).Environment.Variables;
      return [name, RESOURCE, ACTION];
    });
  const [ofOperations, ...others] = STAGES;
  for (const [name, resource, action] of settings(ofOperations!)) {
    const routeKeys = [...ROUTES].filter(([, route]) => route.name === name).map(([routeKey]) => routeKey);
    const [, collection, , last] = routeKeys[0]!.split(' ')[1]!.split('/');
    assert.deepEqual([resource, action], collection === 'commands' ? [undefined, undefined] : [collection, last], name);
  }
  for (const [name, ...variables] of others.flatMap(settings)) {
    assert.deepEqual(variables, [undefined, undefined], name);
  }
});

test('functions of several resources run the same package', () => {
  const packages = new Map<string, Set<string>>();
  for (const { name, binary } of stageOf('single-responsibility').functions) {
    const { Code } = functionOf(prod('single-responsibility'), name);
    packages.set(binary, (packages.get(binary) ?? new Set()).add(JSON.stringify(Code)));
  }
  for (const [binary, found] of packages) {
    assert.equal(found.size, 1, binary);
  }
});

test('in prod new versions start as a canary that alarms roll back; in dev they get all traffic at once', () => {
  for (const { stage, functions } of STAGES) {
    const groups = properties(prod(stage), 'AWS::CodeDeploy::DeploymentGroup');
    assert.equal(groups.length, functions.length, stage);
    for (const [, { DeploymentConfigName, AutoRollbackConfiguration }] of groups) {
      assert.equal(DeploymentConfigName, 'CodeDeployDefault.LambdaCanary10Percent10Minutes');
      assert.ok(AutoRollbackConfiguration.Events.includes('DEPLOYMENT_STOP_ON_ALARM'));
    }
    const aliases = prod(stage).findResources('AWS::Lambda::Alias');
    assert.equal(Object.keys(aliases).length, functions.length);
    for (const [id, { UpdatePolicy }] of Object.entries<any>(aliases)) {
      assert.ok(UpdatePolicy.CodeDeployLambdaAliasUpdate.DeploymentGroupName.Ref, id);
    }
    // Every request and message goes through the alias.
    for (const [id, { IntegrationUri }] of properties(prod(stage), 'AWS::ApiGatewayV2::Integration')) {
      assert.ok(IntegrationUri.Ref in aliases, id);
    }
    for (const [id, { FunctionName }] of properties(prod(stage), 'AWS::Lambda::EventSourceMapping')) {
      assert.match(JSON.stringify(FunctionName), /alias|live/i, id);
    }
    for (const [id, { FunctionName }] of properties(prod(stage), 'AWS::Lambda::Permission')) {
      assert.ok(FunctionName.Ref in aliases, id);
    }
  }
  const dev = template('cqrs', { base: 'dev' });
  dev.resourceCountIs('AWS::CodeDeploy::DeploymentGroup', 0);
  dev.resourceCountIs('AWS::Lambda::Alias', 0);
});

// The command queue

/** Returns the command queue and its dead-letter queue. */
function queues(from: Template): [queue: [string, any], deadLetters: [string, any]] {
  const found = properties(from, 'AWS::SQS::Queue').filter(([id]) => id.startsWith('CommandQueue'));
  assert.equal(found.length, 2);
  const [queue, deadLetters] = ['Commands', 'DeadLetters'].map((id) => found.find(([found]) => found.includes(id))!);
  return [queue!, deadLetters!];
}

test('a message becomes a dead letter after twenty deliveries, and is kept for two weeks', () => {
  for (const { stage } of QUEUED) {
    const [[, queue], [deadLettersId, deadLetters]] = queues(prod(stage));
    assert.deepEqual(queue.RedrivePolicy, {
      maxReceiveCount: 20,
      deadLetterTargetArn: { 'Fn::GetAtt': [deadLettersId, 'Arn'] },
    });
    assert.equal(queue.MessageRetentionPeriod, 4 * 24 * 3_600);
    assert.equal(deadLetters.MessageRetentionPeriod, 14 * 24 * 3_600);
    assert.equal(functionOf(prod(stage), 'ingest-fn').Environment.Variables.MAX_RECEIVE_COUNT, '20');
  }
});

test('the visibility timeout is six timeouts of ingest-fn and the batching window', () => {
  const queue = { fifo: false, batchSize: 100, windowSeconds: 3, pollers: { maximumConcurrency: 5 }, reserved: false };
  const from = template('cqrs', { queue });
  assert.equal(queues(from)[0][1].VisibilityTimeout, 63);
  for (const name of ['write-fn', 'ingest-fn']) {
    assert.equal(functionOf(from, name).Environment.Variables.VISIBILITY_TIMEOUT_SECONDS, '63');
  }
  from.hasResourceProperties('AWS::Lambda::EventSourceMapping', { BatchSize: 100, MaximumBatchingWindowInSeconds: 3 });
});

test('SQS delivers only the failed messages of a batch again', () => {
  for (const { stage } of QUEUED) {
    prod(stage).hasResourceProperties('AWS::Lambda::EventSourceMapping', {
      BatchSize: 10,
      FunctionResponseTypes: ['ReportBatchItemFailures'],
    });
  }
});

test('parallel batches are limited by concurrency or by pollers, not by both', () => {
  const mapping = (from: Template) => properties(from, 'AWS::Lambda::EventSourceMapping')[0]![1];
  const bounded = mapping(prod('cqrs'));
  assert.deepEqual([bounded.ScalingConfig, bounded.ProvisionedPollerConfig], [{ MaximumConcurrency: 50 }, undefined]);
  const pollers = { minimumPollers: 2, maximumPollers: 20 };
  const queue = { fifo: false, batchSize: 10, windowSeconds: 0, pollers, reserved: true };
  const from = template('cqrs', { queue });
  const provisioned = mapping(from);
  assert.deepEqual(provisioned.ProvisionedPollerConfig, { MinimumPollers: 2, MaximumPollers: 20 });
  assert.equal(provisioned.ScalingConfig, undefined);
  assert.equal(functionOf(from, 'ingest-fn').ReservedConcurrentExecutions, 200);
});

test('queues are encrypted, and refuse requests without TLS', () => {
  for (const { stage } of QUEUED) {
    // The two command queues, and the queue for failed starts of the nightly comparison.
    prod(stage).resourcePropertiesCountIs('AWS::SQS::Queue', { SqsManagedSseEnabled: true }, 3);
    const policies = properties(prod(stage), 'AWS::SQS::QueuePolicy');
    assert.equal(policies.length, 3);
    for (const [, { PolicyDocument }] of policies) {
      const [denied] = PolicyDocument.Statement;
      assert.deepEqual([denied.Effect, denied.Action], ['Deny', 'sqs:*']);
      assert.deepEqual(denied.Condition, { Bool: { 'aws:SecureTransport': 'false' } });
    }
  }
});

test('a FIFO queue keeps the order of each user, and its dead letters too', () => {
  const queue = { fifo: true, batchSize: 10, windowSeconds: 0, pollers: { maximumConcurrency: 5 }, reserved: false };
  for (const [id, found] of queues(template('cqrs', { queue }))) {
    assert.deepEqual([found.FifoQueue, found.DeduplicationScope], [true, 'messageGroup'], id);
    assert.equal(found.FifoThroughputLimit, 'perMessageGroupId', id);
  }
});

// The stores

test('tables are on demand, with point-in-time recovery and time to live', () => {
  for (const { stage } of STAGES) {
    for (const [, found] of properties(prod(stage), 'AWS::DynamoDB::GlobalTable')) {
      assert.equal(found.BillingMode, 'PAY_PER_REQUEST');
      assert.deepEqual(found.TimeToLiveSpecification, { AttributeName: 'expires_at', Enabled: true });
      const [replica] = found.Replicas;
      assert.deepEqual(replica.PointInTimeRecoverySpecification, { PointInTimeRecoveryEnabled: true });
      assert.deepEqual(replica.ContributorInsightsSpecification, { Enabled: true, Mode: 'THROTTLED_KEYS' });
    }
  }
});

test('Contributor Insights shows the keys of tables only: the keys of indexes contain names', () => {
  for (const contributorInsights of [true, false]) {
    for (const [, found] of properties(template('cqrs', { contributorInsights }), 'AWS::DynamoDB::GlobalTable')) {
      const [{ ContributorInsightsSpecification, GlobalSecondaryIndexes }] = found.Replicas;
      assert.equal(ContributorInsightsSpecification.Enabled, contributorInsights, found.TableName);
      const actual = (GlobalSecondaryIndexes ?? []).map((index: any) => [
        index.IndexName,
        index.ContributorInsightsSpecification,
      ]);
      const indexes = (found.GlobalSecondaryIndexes ?? []).map(({ IndexName }: any) => [IndexName, { Enabled: false }]);
      assert.deepEqual(actual, indexes, found.TableName);
    }
  }
});

test('tables have the keys and indexes that the adapters ask for', () => {
  const key = (name: string) => ({ AttributeName: name, KeyType: 'HASH' });
  for (const [, found] of properties(prod('cqrs'), 'AWS::DynamoDB::GlobalTable')) {
    assert.deepEqual(found.KeySchema, [key('pk')]);
    const indexes = (found.GlobalSecondaryIndexes ?? []).map((index: any) => {
      const [partition, sort] = index.KeySchema.map(({ AttributeName }: any) => AttributeName);
      assert.deepEqual(index.Projection, { ProjectionType: 'ALL' });
      return [index.IndexName, partition, sort].join();
    });
    const wanted = ['i1', 'i2', 'i3', 'i4', 'i5'].map((slot) => `by-${slot},${slot}_p,${slot}_s`);
    assert.deepEqual(indexes.sort(), found.TableName === 'watershed-commands' ? [] : wanted, found.TableName);
  }
});

test('in prod tables are protected, and outlive the stack; in dev they are deleted with it', () => {
  const policies = (from: Template) =>
    Object.values(from.findResources('AWS::DynamoDB::GlobalTable')).map((table) => [
      table['DeletionPolicy'],
      table['UpdateReplacePolicy'],
      table['Properties'].Replicas[0].DeletionProtectionEnabled,
    ]);
  assert.deepEqual(policies(prod('cqrs')), Array(3).fill(['Retain', 'Retain', true]));
  assert.deepEqual(policies(template('cqrs', { base: 'dev' })), Array(3).fill(['Delete', 'Delete', false]));
});

test('the name of the read table has its projection, and ingest-fn can write a second one', () => {
  const tables = (from: Template) => {
    const found = properties(from, 'AWS::DynamoDB::GlobalTable').map(([id, { TableName }]) => `${id} ${TableName}`);
    return found.filter((table) => table.includes('read')).sort();
  };
  const during = template('cqrs', { projection: 1, otherProjection: 2 });
  const flipped = template('cqrs', { projection: 2, otherProjection: 1 });
  assert.deepEqual(tables(during).length, 2);
  assert.deepEqual(tables(during), tables(flipped));
  assert.match(tables(template('cqrs', { projection: 2 })).join(), /watershed-read-v2$/);
  const variables = functionOf(during, 'ingest-fn').Environment.Variables;
  assert.equal(variables.READ_TABLE, 'watershed-read-v1');
  assert.match(variables.OTHER_READ_TABLE.Ref, /ReadV2/);
});

test('every stage gets the same name of the read table, even without one', () => {
  for (const { stage } of STAGES) {
    for (const [, { Environment }] of properties(prod(stage), 'AWS::Lambda::Function')) {
      const { READ_TABLE } = Environment.Variables;
      assert.equal(READ_TABLE ?? 'watershed-read-v1', 'watershed-read-v1', stage);
    }
  }
});

test('tables can have a warm throughput', () => {
  const warm = { ReadUnitsPerSecond: 20_000, WriteUnitsPerSecond: 8_000 };
  for (const [, found] of properties(
    template('cqrs', { warmThroughput: { reads: 20_000, writes: 8_000 } }),
    'AWS::DynamoDB::GlobalTable',
  )) {
    assert.deepEqual(found.WarmThroughput, warm);
    for (const index of found.GlobalSecondaryIndexes ?? []) {
      assert.deepEqual(index.WarmThroughput, warm);
    }
  }
});

// Redis and its network

test('only the stages with a function that uses Redis have a cache and a network', () => {
  for (const row of STAGES) {
    const used = row.functions.some((spec) => usesRedis(row, spec)) ? 1 : 0;
    prod(row.stage).resourceCountIs('AWS::ElastiCache::ServerlessCache', used);
    prod(row.stage).resourceCountIs('AWS::EC2::VPC', used);
    assert.equal(used === 1, row.writes_redis, row.stage);
  }
  template('cqrs', { redis: false }).resourceCountIs('AWS::EC2::VPC', 0);
});

test('only functions that use Redis are in the network', () => {
  const inside = (stage: string) => {
    const functions = properties(prod(stage), 'AWS::Lambda::Function');
    const found = functions.filter(([, { VpcConfig }]) => VpcConfig !== undefined);
    return found.map(([, { FunctionName }]) => FunctionName.replace('watershed-', '')).sort();
  };
  assert.deepEqual(inside('memory-cache'), []);
  assert.deepEqual(inside('redis-cache-expand'), ['write-fn']);
  assert.deepEqual(inside('read-store'), ['read-fn', 'write-fn']);
  assert.deepEqual(inside('cqrs-expand'), ['ingest-fn', 'read-fn', 'write-fn']);
  assert.deepEqual(inside('cqrs'), ['ingest-fn', 'read-fn']);
});

test('the cache is Valkey, with limits, IAM authentication and TLS', () => {
  const from = prod('cqrs');
  from.hasResourceProperties('AWS::ElastiCache::ServerlessCache', {
    Engine: 'valkey',
    ServerlessCacheName: 'watershed',
    UserGroupId: Match.anyValue(),
    CacheUsageLimits: { DataStorage: { Unit: 'GB', Maximum: 5 }, ECPUPerSecond: { Maximum: 30_000 } },
  });
  from.hasResourceProperties('AWS::ElastiCache::User', {
    Engine: 'valkey',
    UserId: 'watershed',
    UserName: 'watershed',
    AuthenticationMode: { Type: 'iam' },
    AccessString: 'on ~* -@all +client|setinfo +get +set +pttl +type +del +eval +evalsha +script|load',
  });
  const { REDIS_URL, REDIS_IAM_CACHE } = functionOf(from, 'read-fn').Environment.Variables;
  assert.equal(REDIS_URL['Fn::Join'][1][0], 'rediss://watershed@');
  assert.equal(REDIS_URL['Fn::Join'][1][2], ':6379');
  assert.equal(REDIS_IAM_CACHE, 'watershed');
});

test('the network has no way to the internet, and endpoints for the called services only', () => {
  const endpoints = (stage: string) => {
    const services = properties(prod(stage), 'AWS::EC2::VPCEndpoint').map(([, { ServiceName }]) =>
      JSON.stringify(ServiceName),
    );
    return ['dynamodb', 'secretsmanager', 'sqs'].filter((name) =>
      services.some((service) => service.includes(`.${name}"`)),
    );
  };
  for (const { stage, queue_deployed, writes_redis } of STAGES) {
    for (const type of ['AWS::EC2::NatGateway', 'AWS::EC2::InternetGateway', 'AWS::EC2::EIP']) {
      prod(stage).resourceCountIs(type, 0);
    }
    const wanted = writes_redis ? ['dynamodb', 'secretsmanager', ...(queue_deployed ? ['sqs'] : [])] : [];
    assert.deepEqual(endpoints(stage), wanted, stage);
  }
});

test('only functions can reach Redis and the endpoints, and nothing can reach functions', () => {
  for (const [id, rule] of properties(prod('cqrs'), 'AWS::EC2::SecurityGroupIngress')) {
    assert.match(JSON.stringify(rule.SourceSecurityGroupId), /NetworkFunctions/, id);
    assert.doesNotMatch(JSON.stringify(rule.GroupId), /NetworkFunctions/, id);
    assert.ok([443, 6379].includes(rule.FromPort) && rule.FromPort === rule.ToPort, id);
  }
  for (const [id, group] of properties(prod('cqrs'), 'AWS::EC2::SecurityGroup')) {
    assert.equal(group.SecurityGroupIngress, undefined, id);
  }
});

test('no endpoint leads to another account', () => {
  for (const [id, { PolicyDocument }] of properties(prod('cqrs'), 'AWS::EC2::VPCEndpoint')) {
    const [statement, ...more] = PolicyDocument.Statement;
    assert.equal(more.length, 0, id);
    const account = { Ref: 'AWS::AccountId' };
    assert.deepEqual(statement.Condition.StringEquals, {
      'aws:PrincipalAccount': account,
      'aws:ResourceAccount': account,
    });
  }
});

// Monitoring

const alarms = (stage: string) => properties(prod(stage), 'AWS::CloudWatch::Alarm').map(([, alarm]) => alarm);
/** Returns the metrics that an alarm watches with metric math. */
const watchedMetrics = (alarm: any): any[] =>
  (alarm.Metrics ?? []).flatMap(({ MetricStat }: any) => MetricStat?.Metric ?? []);

test('each stage has all its alarms, and each alarm has a topic and a section of the runbook', () => {
  for (const { stage, functions, queue_deployed, writes_redis, writes_read_store } of STAGES) {
    const answering = functions.filter(({ name }) => name !== 'ingest-fn').length;
    const ofNewCode = functions.length + 2 * answering;
    const ofFunctions = 2 * Math.ceil(functions.length / 10);
    const [ofTables, ofComparison] = writes_read_store ? [6, 2] : [4, 0];
    assert.equal(
      alarms(stage).length,
      2 + ofFunctions + ofTables + ofNewCode + (queue_deployed ? 5 : 0) + (writes_redis ? 1 : 0) + ofComparison,
      stage,
    );
    for (const { AlarmActions, OKActions, AlarmDescription } of alarms(stage)) {
      assert.match(AlarmActions[0].Ref, /Alarms/);
      assert.deepEqual(AlarmActions, OKActions);
      assert.match(AlarmDescription, /\. See "[^"]+" in docs\/operations\.md\.$/);
    }
  }
  const lag = alarms('cqrs').find(({ MetricName }) => MetricName === 'ProjectionLag');
  assert.deepEqual(lag.Dimensions, [
    { Name: 'Function', Value: 'watershed-ingest-fn' },
    { Name: 'Stage', Value: 'cqrs' },
  ]);
});

test('alarms watch the errors and throttles of every function once', () => {
  for (const row of STAGES) {
    for (const metric of ['Errors', 'Throttles']) {
      const found = alarms(row.stage)
        .flatMap(watchedMetrics)
        .filter(({ Namespace, MetricName }) => Namespace === 'AWS/Lambda' && MetricName === metric)
        .map(({ Dimensions }) => Dimensions)
        .filter((dimensions) => dimensions.length === 1)
        .map(([{ Value }]) => prod(row.stage).toJSON().Resources[Value.Ref].Properties.FunctionName);
      assert.deepEqual(
        found.sort(),
        functionsOf(row)
          .map((name) => `watershed-${name}`)
          .sort(),
        row.stage,
      );
    }
  }
});

test('one failed command sets off an alarm', () => {
  const failed = alarms('cqrs').find(({ MetricName }) => MetricName === 'CommandsFailed');
  assert.deepEqual(
    [failed.Threshold, failed.EvaluationPeriods, failed.DatapointsToAlarm, failed.Period],
    [0, 1, 1, 60],
  );
});

test('alarms watch throttled reads and writes of each table and index, with ten metrics at most', () => {
  for (const { stage } of STAGES) {
    const metrics = alarms(stage).flatMap((alarm) => {
      assert.ok(watchedMetrics(alarm).length <= 10, alarm.AlarmDescription);
      return watchedMetrics(alarm)
        .filter(({ Namespace }) => Namespace === 'AWS/DynamoDB')
        .map(({ MetricName, Dimensions }) => {
          const dimension = (name: string) => Dimensions.find(({ Name }: any) => Name === name)?.Value;
          return `${MetricName} ${dimension('TableName').Ref} ${dimension('GlobalSecondaryIndexName') ?? ''}`;
        });
    });
    const wanted = properties(prod(stage), 'AWS::DynamoDB::GlobalTable').flatMap(([id, { GlobalSecondaryIndexes }]) =>
      ['', ...(GlobalSecondaryIndexes ?? []).map(({ IndexName }: any) => IndexName)].flatMap((index) =>
        ['ReadThrottleEvents', 'WriteThrottleEvents'].map((metric) => `${metric} ${id} ${index}`),
      ),
    );
    assert.deepEqual(metrics.sort(), wanted.sort(), stage);
  }
});

/** Returns the name of an alarm in the operators' document. One line there covers the same alarm of several functions. */
function documentedName(logicalId: string): string {
  const name = logicalId.replace(/^Monitoring(\w+)[0-9A-F]{8}$/, '$1');
  return name.replace(/^\w+Fn(?=[A-Z])/, '{Function}').replace(/^(Function(?:Errors|Throttles))\d+$/, '$1');
}

test('docs/operations.md has every alarm with its threshold, time and section, and no other', () => {
  const documented = readFileSync('../docs/operations.md', 'utf8').matchAll(
    /^\| `([\w{}]+)` \| [^|]+ \| (above|below) ([\d,]+)[^|]* \| (\d+(?: of \d+)? (?:min|h)) \| \[([^\]]+)\]/gm,
  );
  const actual = [...STAGES.map(({ stage }) => prod(stage)), template('cqrs', { domainEvents: true })].flatMap((from) =>
    properties(from, 'AWS::CloudWatch::Alarm').map(([id, alarm]) => {
      const { Threshold, EvaluationPeriods, DatapointsToAlarm, ComparisonOperator, Period = 60 } = alarm;
      const goesOff = ComparisonOperator === 'LessThanThreshold' ? 'below' : 'above';
      const ofPeriods = DatapointsToAlarm < EvaluationPeriods ? ` of ${EvaluationPeriods}` : '';
      const time = `${DatapointsToAlarm}${ofPeriods} ${Period === 60 ? 'min' : 'h'}`;
      const [, section] = /See "([^"]+)" in/.exec(alarm.AlarmDescription)!;
      return `${documentedName(id)}: ${goesOff} ${Threshold} for ${time}, ${section}`;
    }),
  );
  assert.deepEqual(
    [...documented]
      .map(([, id, goesOff, limit, time, section]) => {
        return `${id}: ${goesOff} ${limit!.replace(',', '')} for ${time}, ${section}`;
      })
      .sort(),
    [...new Set(actual)].sort(),
  );
});

test('only alarms may publish to the topic, only over TLS, and the configured address gets them', () => {
  const policy = properties(prod('cqrs'), 'AWS::SNS::TopicPolicy')[0]![1].PolicyDocument.Statement;
  const allowed = policy.filter(({ Effect }: any) => Effect === 'Allow');
  assert.deepEqual(
    allowed.map(({ Principal }: any) => Principal),
    [{ Service: 'cloudwatch.amazonaws.com' }],
  );
  const denied = policy.filter(({ Effect }: any) => Effect === 'Deny');
  assert.deepEqual(
    denied.map(({ Condition }: any) => Condition),
    [{ Bool: { 'aws:SecureTransport': 'false' } }],
  );
  prod('cqrs').resourceCountIs('AWS::SNS::Subscription', 0);
  template('cqrs', { alarmEmail: 'ops@example.com' }).hasResourceProperties('AWS::SNS::Subscription', {
    Protocol: 'email',
    Endpoint: 'ops@example.com',
  });
});

test('one dashboard shows routes, caches, the queue, throttles and the billed quantities', () => {
  const body = (stage: string) =>
    JSON.stringify(properties(prod(stage), 'AWS::CloudWatch::Dashboard')[0]![1].DashboardBody);
  const always = ['by route', 'Throttled requests', 'Write units an hour', 'Concurrent executions'];
  const queued = ['Age of the oldest command', 'dead letters', 'Projection lag'];
  for (const { stage, caches, queue_deployed } of STAGES) {
    const wanted = [...always, ...(queue_deployed ? queued : []), ...(caches.length > 0 ? ['Cache hit ratio'] : [])];
    for (const title of wanted) {
      assert.ok(body(stage).includes(title), `${title} at ${stage}`);
    }
  }
  for (const metric of ['ConsumedWriteCapacityUnits', 'ConsumedReadCapacityUnits']) {
    const ofIndexes = body('cqrs').match(new RegExp(`${metric}\\W+GlobalSecondaryIndexName`, 'g'));
    assert.equal(ofIndexes?.length, 2 * SERVICE.slots.length, `${metric} of the indexes of both stores`);
  }
});

test('in stages with a read store, a schedule starts a comparison with the write store every night', () => {
  for (const { stage, writes_read_store } of STAGES) {
    const times = writes_read_store ? 1 : 0;
    prod(stage).resourceCountIs('AWS::Scheduler::Schedule', times);
    prod(stage).resourceCountIs('AWS::Events::Rule', 0);
    prod(stage).resourceCountIs('AWS::CodeBuild::Project', times);
  }
  prod('cqrs').hasResourceProperties('AWS::Scheduler::Schedule', { ScheduleExpression: 'cron(17 3 * * ? *)' });
  for (const [stage, variables] of [
    ['read-store', ['WRITE_TABLE', 'READ_TABLE']],
    ['cqrs', ['WRITE_TABLE', 'READ_TABLE', 'QUEUE_URL']],
  ] as const) {
    const [[, project]] = properties(prod(stage), 'AWS::CodeBuild::Project') as [[string, any]];
    assert.match(project.Source.BuildSpec, /bootstrap verify/);
    assert.deepEqual(
      project.Environment.EnvironmentVariables.map(({ Name }: any) => Name),
      variables,
    );
  }
  template('cqrs', { base: 'dev' }).resourceCountIs('AWS::Scheduler::Schedule', 0);
});

// Domain events

test('with domainEvents a pipe publishes changes, without a function', () => {
  prod('cqrs').resourceCountIs('AWS::Pipes::Pipe', 0);
  const from = template('cqrs', { domainEvents: true });
  from.resourceCountIs('AWS::Lambda::Function', 3);
  // One pipe for all resources, because a stream takes at most two readers.
  from.resourceCountIs('AWS::Pipes::Pipe', 1);
  from.hasResourceProperties('AWS::Pipes::Pipe', {
    Source: { 'Fn::GetAtt': [Match.stringLikeRegexp('^StoresWrite'), 'StreamArn'] },
    SourceParameters: { DynamoDBStreamParameters: { DeadLetterConfig: Match.anyValue(), MaximumRetryAttempts: 20 } },
    TargetParameters: {
      EventBridgeEventBusParameters: { Source: 'watershed', DetailType: 'Changed' },
      InputTemplate: '{"key": <$.dynamodb.Keys.pk.S>, "version": <$.dynamodb.NewImage.version.N>}',
    },
  });
  from.hasResourceProperties('AWS::DynamoDB::GlobalTable', {
    TableName: 'watershed-write',
    StreamSpecification: { StreamViewType: 'NEW_IMAGE' },
  });
});

test('the pattern in docs/deploy.md selects changes of users, and of no other resource', WITH_USERS, () => {
  const [text] = /^\{"source".*\}$/m.exec(readFileSync('../docs/deploy.md', 'utf8'))!;
  const { source, detail } = JSON.parse(text);
  assert.deepEqual(source, ['watershed']);
  const selected = SERVICE.resources.filter(({ kind }) => `${kind}#acme#id`.startsWith(detail.key[0].prefix));
  assert.deepEqual(
    selected.map(({ collection }) => collection),
    ['users'],
  );
});
