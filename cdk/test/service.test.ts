import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkedScopes } from '../lib/api';
import { SERVICE } from '../lib/service';
import { functionsOf, ROUTES } from './expected';
import { config, properties, specOf, STAGES, synthesise, template, WITH_USERS } from './support';

test('shared/service.json has the routes that follow from the resources', () => {
  const described = SERVICE.routes.flatMap(({ path, methods, refused, scopes, functions }) =>
    [...methods, ...refused].map((method) => [`${method} ${path}`, scopes.join(), functions[0]]),
  );
  const wanted = [...ROUTES].map(([routeKey, { scopes, name }]) => [routeKey, scopes, name]);
  assert.deepEqual(described.sort(), wanted.sort());
});

test('each stage has the functions that follow from the resources', () => {
  for (const row of STAGES) {
    assert.deepEqual(row.functions.map(({ name }) => name).sort(), functionsOf(row).sort(), row.stage);
  }
});

test('a function serves one resource if it is named after it, and its binary is named after the operation', () => {
  for (const { collection, name } of SERVICE.resources) {
    for (const operation of ['create', 'replace', 'update', 'delete', 'get', 'list']) {
      const spec = specOf(`${operation}-${operation === 'list' ? collection : name}-fn`);
      assert.deepEqual([spec.binary, spec.resource, spec.action], [`${operation}-fn`, collection, undefined]);
    }
  }
  for (const { name, binary, resource, action } of SERVICE.functions.filter(({ action }) => action !== undefined)) {
    const { name: noun } = SERVICE.resources.find(({ collection }) => collection === resource)!;
    assert.deepEqual([name, binary], [`${action}-${noun}-fn`, 'act-fn']);
  }
});

test('functions and routes of users keep their names', WITH_USERS, () => {
  assert.deepEqual(specOf('list-users-fn'), {
    name: 'list-users-fn',
    binary: 'list-fn',
    resource: 'users',
    tasks: ['list'],
  });
  assert.deepEqual(specOf('replace-user-fn').tasks, ['change']);
  assert.deepEqual(ROUTES.get('PUT /users'), { scopes: 'users:write', access: 'write', name: 'create-user-fn' });
  assert.deepEqual(ROUTES.get('HEAD /users/{id}'), { scopes: 'users:read', access: 'read', name: 'get-user-fn' });
});

test('the functions that the CDK code names exist', () => {
  assert.deepEqual(specOf('ingest-fn').tasks, ['ingest']);
  for (const name of [...SERVICE.default, ...SERVICE.routes.flatMap(({ functions }) => functions)]) {
    assert.ok(specOf(name), name);
  }
});

// Limits of AWS

test('API Gateway checks the scopes of a route if there are ten or fewer, and leaves more to the function', () => {
  const scopes = Array.from({ length: 11 }, (_, index) => `r${index}:read`);
  assert.deepEqual(checkedScopes(scopes.slice(0, 10)), { authorizationScopes: scopes.slice(0, 10) });
  assert.deepEqual(checkedScopes(scopes), {});
});

test('an API stays within 300 routes and integrations, and a table within 20 indexes with names of 3 characters', () => {
  for (const [stage, from] of synthesise(STAGES, config({ cors: ['https://app.example.com'] }))) {
    // https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
    for (const type of ['Route', 'Integration']) {
      assert.ok(properties(from, `AWS::ApiGatewayV2::${type}`).length <= 300, `${type}s at ${stage}`);
    }
    for (const [id, { GlobalSecondaryIndexes = [] }] of properties(from, 'AWS::DynamoDB::GlobalTable')) {
      assert.ok(GlobalSecondaryIndexes.length <= 20, `${id} at ${stage}`);
      for (const { IndexName } of GlobalSecondaryIndexes) {
        assert.match(IndexName, /^[\w.-]{3,255}$/);
      }
    }
  }
});

test('names of functions are short enough, even with the longest name of a deployment', () => {
  for (const [, { FunctionName }] of properties(
    template('single-responsibility', { name: 'a'.repeat(25) }),
    'AWS::Lambda::Function',
  )) {
    assert.ok(FunctionName.length <= 64, FunctionName);
  }
});

test('each resource has a key prefix of its own, so that subscribers can filter by kind', () => {
  const kinds = SERVICE.resources.map(({ kind }) => kind);
  assert.equal(new Set(kinds).size, kinds.length);
  for (const kind of kinds) {
    assert.match(kind, /^[^#]+$/);
  }
});
