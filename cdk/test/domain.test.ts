import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Refusal } from '../lib/refusal';
import { config, prod, properties, STAGES, synthesise } from './support';

const CERTIFICATE = 'arn:aws:acm:eu-central-1:111122223333:certificate/12345678-abcd-4ef0-9876-0123456789ab';
const DOMAIN = { name: 'api.example.com', certificate: CERTIFICATE };

test('with a domain clients can use only the domain, over TLS 1.2 or newer, and an output names its DNS target', () => {
  for (const [stage, from] of synthesise(STAGES, config({ domain: DOMAIN }))) {
    const [[domainId, domain]] = properties(from, 'AWS::ApiGatewayV2::DomainName') as [[string, any]];
    assert.equal(domain.DomainName, 'api.example.com', stage);
    assert.deepEqual(domain.DomainNameConfigurations, [
      { CertificateArn: CERTIFICATE, EndpointType: 'REGIONAL', SecurityPolicy: 'TLS_1_2' },
    ]);
    const [[apiId, api]] = properties(from, 'AWS::ApiGatewayV2::Api') as [[string, any]];
    const [[stageId, apiStage]] = properties(from, 'AWS::ApiGatewayV2::Stage') as [[string, any]];
    const [mapping] = Object.values<any>(from.findResources('AWS::ApiGatewayV2::ApiMapping'));
    // Without a key, the API has the whole domain.
    assert.deepEqual(mapping.Properties, { ApiId: { Ref: apiId }, DomainName: { Ref: domainId }, Stage: '$default' });
    assert.equal(apiStage.StageName, '$default');
    assert.deepEqual(mapping.DependsOn, [stageId]);
    assert.equal(api.DisableExecuteApiEndpoint, true);
    const { Url, DomainTarget } = from.toJSON().Outputs;
    assert.equal(Url.Value, 'https://api.example.com');
    assert.deepEqual(DomainTarget.Value, { 'Fn::GetAtt': [domainId, 'RegionalDomainName'] });
  }
});

test('with a base path the domain serves the API under it, and each function with routes gets it', () => {
  for (const [stage, from] of synthesise(STAGES, config({ domain: { ...DOMAIN, basePath: 'v1/api' } }))) {
    const [mapping] = Object.values<any>(from.findResources('AWS::ApiGatewayV2::ApiMapping'));
    assert.equal(mapping.Properties.ApiMappingKey, 'v1/api', stage);
    assert.equal(from.toJSON().Outputs.Url.Value, 'https://api.example.com/v1/api');
    for (const [, { FunctionName, Environment }] of properties(from, 'AWS::Lambda::Function') as [string, any][]) {
      const serves = FunctionName !== undefined && Environment?.Variables?.STAGE !== undefined;
      const expected = serves && !FunctionName.endsWith('ingest-fn') ? '/v1/api' : undefined;
      assert.equal(Environment?.Variables?.BASE_PATH, expected, `${stage} ${FunctionName}`);
    }
  }
  assert.ok(!JSON.stringify(prod('cqrs').toJSON()).includes('BASE_PATH'));
});

test('without a domain clients use the address of the API', () => {
  prod('cqrs').resourceCountIs('AWS::ApiGatewayV2::DomainName', 0);
  const [[apiId, api]] = properties(prod('cqrs'), 'AWS::ApiGatewayV2::Api') as [[string, any]];
  assert.equal(api.DisableExecuteApiEndpoint, undefined);
  const { Url, DomainTarget } = prod('cqrs').toJSON().Outputs;
  assert.deepEqual(Url.Value, { 'Fn::GetAtt': [apiId, 'ApiEndpoint'] });
  assert.equal(DomainTarget, undefined);
});

test('an invalid domain is refused with the reason', () => {
  const cases: [domain: unknown, reason: RegExp][] = [
    ['api.example.com', /^domain must have the keys name and certificate, and may have basePath$/m],
    [{ name: 'api.example.com' }, /^domain must have the keys name and certificate, and may have basePath$/m],
    [{ ...DOMAIN, path: 'v1' }, /^domain must have the keys name and certificate, and may have basePath$/m],
    ...[
      'https://api.example.com',
      'api.example.com/v1',
      'API.example.com',
      'example',
      '*.example.com',
      'a..com',
      '',
    ].map((name): [unknown, RegExp] => [{ ...DOMAIN, name }, /^domain must have a name such as api\.example\.com/m]),
    [{ ...DOMAIN, certificate: 'arn:aws:iam::111122223333:server-certificate/x' }, /^domain must have the ARN of its/m],
    [{ ...DOMAIN, certificate: '' }, /aws acm request-certificate/],
    ...['', '/v1', 'v1/', 'v1//x', 'a b', 'v1?', 7, 'x'.repeat(301)].map((basePath): [unknown, RegExp] => [
      { ...DOMAIN, basePath },
      /^domain must have a basePath such as v1/m,
    ]),
  ];
  for (const [domain, reason] of cases) {
    assert.throws(
      () => config({ domain }),
      (error: Error) => error instanceof Refusal && reason.test(error.message),
      JSON.stringify(domain),
    );
  }
  for (const name of ['api.example.com', 'example.co', 'xn--bcher-kva.example', 'a-b.c1.xn--p1ai']) {
    assert.equal(config({ domain: { ...DOMAIN, name } }).domain?.name, name);
  }
});
