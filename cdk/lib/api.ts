import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { AccessLogFormat } from 'aws-cdk-lib/aws-apigateway';
import {
  ApiMapping,
  CfnStage,
  CorsHttpMethod,
  type CorsPreflightOptions,
  DomainName,
  HttpApi,
  HttpIntegrationType,
  HttpMethod,
  HttpRoute,
  HttpRouteIntegration,
  type HttpRouteIntegrationBindOptions,
  type HttpRouteIntegrationConfig,
  HttpRouteKey,
  HttpStage,
  LogGroupLogDestination,
  PayloadFormatVersion,
  SecurityPolicy,
} from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpJwtAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { Certificate } from 'aws-cdk-lib/aws-certificatemanager';
import { CfnPermission, type IFunction } from 'aws-cdk-lib/aws-lambda';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import { basePath, type Config } from './config';
import type { Functions } from './functions';
import { type Routes, SERVICE } from './service';

const CORS = join(__dirname, '../../shared/cors.json');

/** https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html */
const SCOPES_MAX = 10;

/** Requests a second of everybody without a token, and at once: enough for load balancers that ask whether it lives. */
const DEFAULT_THROTTLE = 50;

/**
 * The format of the access log: it holds only text that API Gateway makes up. API Gateway does not promise to escape the
 * values of variables. A quotation mark in a claim, or in the message of an error, could break the JSON of a line. Paths
 * and queries stay out because they may hold email addresses. The function's log has the tenant, by `functionRequestId`.
 */
const ACCESS_LOG = {
  requestId: '$context.requestId',
  time: '$context.requestTime',
  route: '$context.routeKey',
  status: '$context.status',
  error: '$context.error.responseType',
  bytes: '$context.responseLength',
  latency: '$context.responseLatency',
  integrationStatus: '$context.integrationStatus',
  integrationLatency: '$context.integrationLatency',
  functionRequestId: '$context.integration.requestId',
  ip: '$context.identity.sourceIp',
};

/** The headers of CORS, for every origin alike. The local stack reads the same file. */
function preflight(origins: readonly string[]): CorsPreflightOptions {
  const { allow_methods, allow_headers, expose_headers, max_age_seconds } = JSON.parse(readFileSync(CORS, 'utf8'));
  return {
    allowOrigins: [...origins],
    allowMethods: allow_methods.map((method: keyof typeof CorsHttpMethod) => CorsHttpMethod[method]),
    allowHeaders: allow_headers,
    exposeHeaders: expose_headers,
    maxAge: Duration.seconds(max_age_seconds),
  };
}

/**
 * The scopes of a route, of which a token must have one. API Gateway takes ten at most. A route with more asks for a token
 * and for no scope: the function checks the scopes itself, as it does in any case where a route has several.
 */
export function checkedScopes(scopes: Routes['scopes']): { authorizationScopes?: string[] } {
  return scopes.length > SCOPES_MAX ? {} : { authorizationScopes: [...scopes] };
}

/** Has a function answer routes. A route that goes live before the permission answers 500, so each depends on it. */
class FunctionIntegration extends HttpRouteIntegration {
  constructor(
    private readonly target: IFunction,
    private readonly permission: CfnPermission,
  ) {
    super(target.node.id);
  }

  bind(): HttpRouteIntegrationConfig {
    return {
      type: HttpIntegrationType.AWS_PROXY,
      uri: this.target.functionArn,
      payloadFormatVersion: PayloadFormatVersion.VERSION_2_0,
    };
  }

  protected override completeBind({ route }: HttpRouteIntegrationBindOptions): void {
    route.node.addDependency(this.permission);
  }
}

/** The front door. */
export class Api extends Construct {
  readonly api: HttpApi;
  /** The address for clients. */
  readonly url: string;
  /** The host that the DNS record of the domain points to, if there is a domain. */
  readonly domainTarget?: string;
  private readonly integrations = new Map<IFunction, FunctionIntegration>();

  constructor(
    scope: Construct,
    config: Config,
    private readonly functions: Functions,
  ) {
    super(scope, 'Api');
    const { cors, domain } = config;
    this.api = new HttpApi(this, 'HttpApi', {
      apiName: config.name,
      createDefaultStage: false,
      // Otherwise clients could bypass a firewall in front of the domain.
      ...(domain && { disableExecuteApiEndpoint: true }),
      ...(cors && { corsPreflight: preflight(cors) }),
    });
    const authorizer = new HttpJwtAuthorizer('Tokens', config.issuer, { jwtAudience: [...config.audience] });
    for (const { path, methods, refused, scopes, functions } of SERVICE.routes) {
      this.api.addRoutes({
        path,
        methods: [...methods, ...refused].map((method) => HttpMethod[method]),
        integration: this.integration(functions),
        authorizer,
        ...checkedScopes(scopes),
      });
    }
    if (cors !== undefined) {
      this.optionsRoute();
    }
    const stage = this.stage(config);
    // A stage can have settings for those routes only that are there already.
    stage.node.addDependency(this.defaultRoute());
    if (domain === undefined) {
      this.url = this.api.apiEndpoint;
    } else {
      this.url = `https://${domain.name}${basePath(config)}`;
      this.domainTarget = this.domain(domain, stage).regionalDomainName;
    }
  }

  /** Returns the integration of the first of these functions that the row deploys. */
  private integration(names: readonly string[]): FunctionIntegration {
    const target = this.functions.first(names);
    if (target === undefined) {
      throw new Error(`no row goes without all of ${names.join(', ')}`);
    }
    const found = this.integrations.get(target) ?? new FunctionIntegration(target, this.permission(target));
    this.integrations.set(target, found);
    return found;
  }

  /**
   * Lets every route of this API invoke a function. API Gateway invokes `$default` as `<api>/<stage>/$default`, and other
   * routes as `<api>/<stage>/<method>/<path>`. The pattern matches both: a wildcard also matches slashes.
   */
  private permission(target: IFunction): CfnPermission {
    return new CfnPermission(this, `Invoke-${target.node.id}`, {
      action: 'lambda:InvokeFunction',
      functionName: target.functionArn,
      principal: 'apigateway.amazonaws.com',
      sourceArn: Stack.of(this).formatArn({
        service: 'execute-api',
        resource: this.api.apiId,
        resourceName: '*/*',
      }),
    });
  }

  private defaultRoute(): HttpRoute {
    const route = new HttpRoute(this, 'Default', {
      httpApi: this.api,
      routeKey: HttpRouteKey.DEFAULT,
      integration: this.integration(SERVICE.default),
    });
    Validations.of(route).acknowledge({
      id: 'AwsSolutions::AwsSolutions-APIG4',
      reason:
        'It answers 404, 405 and liveness, which tell nothing and take nothing. Every route with data asks for a token.',
    });
    return route;
  }

  /**
   * Takes `OPTIONS` away from `$default`, whose throttle is too low for the preflights of many pages.
   * https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html asks for this route.
   */
  private optionsRoute(): void {
    const route = new HttpRoute(this, 'Options', {
      httpApi: this.api,
      routeKey: HttpRouteKey.with('/{proxy+}', HttpMethod.OPTIONS),
      integration: this.integration(SERVICE.default),
    });
    Validations.of(route).acknowledge({
      id: 'AwsSolutions::AwsSolutions-APIG4',
      reason: 'A browser sends preflights without a token. The answer tells the methods of a path, and nothing else.',
    });
  }

  private domain({ name, certificate, basePath }: NonNullable<Config['domain']>, stage: HttpStage): DomainName {
    const domain = new DomainName(this, 'Domain', {
      domainName: name,
      certificate: Certificate.fromCertificateArn(this, 'Certificate', certificate),
      securityPolicy: SecurityPolicy.TLS_1_2,
    });
    const apiMappingKey = basePath;
    new ApiMapping(this, 'Mapping', {
      api: this.api,
      domainName: domain,
      stage,
      ...(apiMappingKey && { apiMappingKey }),
    });
    return domain;
  }

  private stage(config: Config): HttpStage {
    const log = new LogGroup(this, 'AccessLog', {
      retention: config.logRetentionDays,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const { rate, burst } = config.throttle;
    const stage = new HttpStage(this, 'Stage', {
      httpApi: this.api,
      autoDeploy: true,
      throttle: { rateLimit: rate, burstLimit: burst },
      accessLogSettings: {
        destination: new LogGroupLogDestination(log),
        format: AccessLogFormat.custom(JSON.stringify(ACCESS_LOG)),
      },
    });
    // Anybody may ask there, and each request runs the function that serves reads: it must not crowd those out.
    (stage.node.defaultChild as CfnStage).routeSettings = {
      $default: {
        ThrottlingRateLimit: Math.min(DEFAULT_THROTTLE, rate),
        ThrottlingBurstLimit: Math.min(DEFAULT_THROTTLE, burst),
      },
    };
    return stage;
  }
}
