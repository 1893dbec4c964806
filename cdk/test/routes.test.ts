import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Template } from 'aws-cdk-lib/assertions';
import { moves } from './moves';
import { arnLike, resolve } from './policies';
import { config, properties, STAGES, synthesise, template } from './support';

/** Every stage at rest and every step, with canary aliases and without. */
const DEPLOYMENTS: [title: string, from: Template][] = [true, false].flatMap((canary) => {
  const settings = config({ canary });
  const title = (name: string) => `${name}, ${canary ? 'with' : 'without'} canary`;
  return [
    ...[...synthesise(STAGES, settings)].map(([stage, from]): [string, Template] => [title(stage), from]),
    ...moves(settings).map((move): [string, Template] => [title(move.title), move.during]),
  ];
});
DEPLOYMENTS.push(['cqrs with CORS, with canary', template('cqrs', { cors: ['https://app.example.com'] })]);

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/**
 * Returns the ARNs with which API Gateway may invoke the function of a route: `<api>/<stage>/<method>/<path>`, and
 * `<api>/<stage>/$default` (https://github.com/aws/serverless-application-model/issues/1860). AWS does not document whether the
 * path is that of the route or of the request. It does not document `ANY` either. So all of these must match.
 */
function invokedAs(api: string, stage: string, routeKey: string): string[] {
  const arn = (rest: string) => `arn:aws:execute-api:eu-central-1:111122223333:${api}/${stage}/${rest}`;
  const [method, path] = routeKey.split(' ');
  if (path === undefined) {
    return [arn(routeKey)];
  }
  const ofRequest = path.replaceAll(/\{[^}]+\+\}/g, 'any/depth').replaceAll(/\{[^}]+\}/g, 'an-id');
  const methods = method === 'ANY' ? ['ANY', ...METHODS] : [method];
  return methods.flatMap((method) => [...new Set([path, ofRequest])].map((path) => arn(`${method}${path}`)));
}

/** A route, with the function or alias that answers it. */
interface Route {
  readonly id: string;
  readonly routeKey: string;
  readonly target: string;
  readonly arns: string[];
}

function routesOf(from: Template): Route[] {
  const [[, { StageName }]] = properties(from, 'AWS::ApiGatewayV2::Stage') as [[string, any]];
  const integrations = new Map(properties(from, 'AWS::ApiGatewayV2::Integration'));
  return properties(from, 'AWS::ApiGatewayV2::Route').map(([id, { ApiId, RouteKey, Target }]) => {
    const integration = integrations.get(/<(.+)>/.exec(resolve(Target))![1]!);
    const arns = invokedAs(resolve(ApiId), StageName, RouteKey);
    return { id, routeKey: RouteKey, target: resolve(integration.IntegrationUri), arns };
  });
}

/** Returns the logical ids of the permissions that let API Gateway invoke the function of a route, with each of its ARNs. */
function permissionsOf(from: Template, { target, arns }: Route): string[] {
  const matching = properties(from, 'AWS::Lambda::Permission').filter(
    ([, { Action, FunctionName, Principal, SourceArn }]) =>
      Action === 'lambda:InvokeFunction' &&
      Principal === 'apigateway.amazonaws.com' &&
      resolve(FunctionName) === target &&
      arns.every((arn) => arnLike(resolve(SourceArn), arn)),
  );
  return matching.map(([id]) => id);
}

/** Returns the resources on which a resource depends, directly or indirectly. */
function before(from: Template, id: string, found = new Set<string>()): Set<string> {
  const { DependsOn = [], Properties } = from.toJSON().Resources[id] ?? {};
  const referred = JSON.stringify(Properties ?? {}).matchAll(/"Ref":"([^"]+)"|"Fn::GetAtt":\["([^"]+)"/g);
  const next = [...[DependsOn].flat(), ...[...referred].map(([, ref, attribute]) => ref ?? attribute!)];
  for (const other of next.filter((other) => !found.has(other))) {
    found.add(other);
    before(from, other, found);
  }
  return found;
}

/** Returns the routes that API Gateway may not invoke, or that may go live before their permission. */
function faults(from: Template): string[] {
  return routesOf(from).flatMap((route) => {
    const permissions = permissionsOf(from, route);
    if (permissions.length === 0) {
      return [`${route.routeKey} is answered 500`];
    }
    const earlier = before(from, route.id);
    return permissions.some((id) => earlier.has(id)) ? [] : [`${route.routeKey} may come before its permission`];
  });
}

test('API Gateway may invoke the function of every route before the route exists', () => {
  assert.ok(DEPLOYMENTS.length > 60);
  for (const [title, from] of DEPLOYMENTS) {
    assert.ok(routesOf(from).length > 10, title);
    assert.deepEqual(faults(from), [], title);
  }
});

test('with the canary API Gateway may invoke only aliases, and without it only functions', () => {
  for (const [title, from] of DEPLOYMENTS) {
    const kind = title.endsWith('with canary') ? 'AWS::Lambda::Alias' : 'AWS::Lambda::Function';
    const invocable = Object.keys(from.findResources(kind));
    for (const { routeKey, target } of routesOf(from)) {
      assert.ok(
        invocable.some((id) => [`<${id}>`, `<${id}.Arn>`].includes(target)),
        `${routeKey} of ${title}`,
      );
    }
    for (const [id, { FunctionName }] of properties(from, 'AWS::Lambda::Permission')) {
      assert.ok(
        invocable.some((id) => [`<${id}>`, `<${id}.Arn>`].includes(resolve(FunctionName))),
        `${id} of ${title}`,
      );
    }
  }
});

/** Returns the faults of a stage after a change to its resources. */
function faultsAfter(change: (resource: any, type: string) => void): string[] {
  const changed = structuredClone(DEPLOYMENTS[0]![1].toJSON());
  Object.values<any>(changed.Resources).forEach((resource) => change(resource, resource.Type));
  return faults(Template.fromJSON(changed));
}

test('the check finds a permission that does not match, or that is created too late', () => {
  assert.deepEqual(
    faultsAfter(() => {}),
    [],
  );
  const withPattern = (ending: string) =>
    faultsAfter(({ Properties }, type) => {
      if (type === 'AWS::Lambda::Permission') {
        Properties.SourceArn['Fn::Join'][1].splice(-1, 1, ending);
      }
    });
  // The pattern of the CDK's own construct.
  assert.deepEqual(withPattern('/*/*/*'), ['$default is answered 500']);
  const routeKeys = routesOf(DEPLOYMENTS[0]![1]).map(({ routeKey }) => routeKey);
  const failing = (fails: (routeKey: string) => boolean) =>
    routeKeys.filter(fails).map((routeKey) => `${routeKey} is answered 500`);
  assert.deepEqual(
    withPattern('/*/$default'),
    failing((routeKey) => routeKey !== '$default'),
  );
  assert.deepEqual(
    withPattern('/*/GET/*'),
    failing((routeKey) => !routeKey.startsWith('GET ')),
  );
  assert.deepEqual(
    withPattern('/prod/*'),
    failing(() => true),
  );
  const late = faultsAfter((resource, type) => {
    if (type.startsWith('AWS::ApiGatewayV2::')) {
      delete resource.DependsOn;
    }
  });
  assert.deepEqual(
    late,
    routeKeys.map((routeKey) => `${routeKey} may come before its permission`),
  );
});

test('an ARN is compared part by part, and a wildcard matches slashes but not colons', () => {
  const arn = 'arn:aws:execute-api:eu-central-1:111122223333:api/$default/GET/users';
  const cases: [pattern: string, matches: boolean][] = [
    ['arn:aws:execute-api:eu-central-1:111122223333:api/*', true],
    ['arn:aws:execute-api:eu-central-1:111122223333:api/*/*', true],
    ['arn:aws:execute-api:*:*:api/*/*/users', true],
    ['arn:aws:execute-api:eu-central-1:111122223333:api/?default/GET/users', true],
    ['arn:aws:execute-api:eu-central-1:111122223333:api/*/*/*/*', false],
    ['arn:aws:execute-api:eu-central-1:111122223333:api/*/get/users', false],
    ['arn:aws:execute-api:*:api/*', false],
  ];
  for (const [pattern, fits] of cases) {
    assert.equal(arnLike(pattern, arn), fits, pattern);
  }
});

test('for a route with any method or path, the check tries each method and path', () => {
  assert.deepEqual(
    invokedAs('api', '$default', 'OPTIONS /{proxy+}').map((arn) => arn.split(':')[5]),
    ['api/$default/OPTIONS/{proxy+}', 'api/$default/OPTIONS/any/depth'],
  );
  assert.equal(invokedAs('api', '$default', 'ANY /users/{id}').length, 2 * (METHODS.length + 1));
});
