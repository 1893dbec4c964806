import assert from 'node:assert/strict';
import { test } from 'node:test';
import { config, properties, STAGES, synthesise } from './support';

const ORIGINS = ['https://app.example.com', 'http://localhost:8080'];

test('with origins the API answers preflights at every stage, without a token', () => {
  for (const [stage, from] of synthesise(STAGES, config({ cors: ORIGINS }))) {
    const [[, { CorsConfiguration }]] = properties(from, 'AWS::ApiGatewayV2::Api') as [[string, any]];
    assert.deepEqual(CorsConfiguration.AllowOrigins, ORIGINS, stage);
    assert.deepEqual(CorsConfiguration.AllowMethods, ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']);
    assert.ok(CorsConfiguration.AllowHeaders.includes('authorization'));
    assert.ok(CorsConfiguration.ExposeHeaders.includes('etag'));
    assert.equal(CorsConfiguration.AllowCredentials, undefined);
    const routes = properties(from, 'AWS::ApiGatewayV2::Route').map(([, route]) => route);
    const options = routes.find(({ RouteKey }) => RouteKey === 'OPTIONS /{proxy+}');
    assert.equal(options.AuthorizationType, 'NONE', stage);
    const fallback = routes.find(({ RouteKey }) => RouteKey === '$default');
    assert.deepEqual(options.Target, fallback.Target, stage);
  }
});

test('without origins the API has neither CORS nor a route for OPTIONS', () => {
  for (const [stage, from] of synthesise(STAGES)) {
    const [[, { CorsConfiguration }]] = properties(from, 'AWS::ApiGatewayV2::Api') as [[string, any]];
    assert.equal(CorsConfiguration, undefined, stage);
    const keys = properties(from, 'AWS::ApiGatewayV2::Route').map(([, { RouteKey }]) => RouteKey);
    assert.ok(!keys.some((key) => key.startsWith('OPTIONS')), stage);
  }
});

test('an origin that no browser would send is refused with the reason', () => {
  const wrong = [[], 'https://app.example.com', ['*'], ['https://*.example.com'], ['app.example.com'], ['null']];
  const notSerialised = ['https://app.example.com/', 'https://app.example.com/page', 'https://App.example.com'];
  const others = ['https://app.example.com:443', 'ftp://app.example.com', 'https://user@app.example.com', 7];
  for (const cors of [...wrong, ...[...notSerialised, ...others].map((origin) => [origin])]) {
    assert.throws(() => config({ cors }), /^.*cors must be a list of origins such as https:\/\/app/ms, String(cors));
  }
  assert.deepEqual(config({ cors: ORIGINS }).cors, ORIGINS);
});
