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

/** The maximum number of scopes of a route: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html */
const SCOPES_MAX = 10;

/** The throttle of requests without a token, in requests per second and as burst. It is enough for health checks. */
const DEFAULT_THROTTLE = 50;

/**
 * The format of the access log. It has only values that API Gateway generates, because API Gateway does not promise to escape
 * values. A quotation mark in a claim or in an error message could break the JSON of a line. It has no paths and queries, because
 * they may contain email addresses. The function's log has the tenant; `functionRequestId` links the two.
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

/** Returns the CORS headers, the same for every origin. The local stack reads the same file. */
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
 * Returns the scopes that API Gateway checks for a route: a token needs one of them. API Gateway takes at most ten. If a route has
 * more, API Gateway checks only the token. The function always checks the scopes itself.
 */
export function checkedScopes(scopes: Routes['scopes']): { authorizationScopes?: string[] } {
  return scopes.length > SCOPES_MAX ? {} : { authorizationScopes: [...scopes] };
}

/**
 * Connects routes to a function. A route that is live before its permission answers 500, so each route depends on the permission.
 */
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

/** The front door: an HTTP API. */
export class Api extends Construct {
  readonly api: HttpApi;
  /** The URL for clients. */
  readonly url: string;
  /** The host to which the DNS record of the domain must point, if there is a domain. */
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
      // Clients could bypass a firewall in front of the domain through the default endpoint.
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
    // The stage has settings for the default route, so that route must exist first.
    stage.node.addDependency(this.defaultRoute());
    if (domain === undefined) {
      this.url = this.api.apiEndpoint;
    } else {
      this.url = `https://${domain.name}${basePath(config)}`;
      this.domainTarget = this.domain(domain, stage).regionalDomainName;
    }
  }

  /** Returns the integration of the first of these functions that the stage deploys. */
  private integration(names: readonly string[]): FunctionIntegration {
    const target = this.functions.first(names);
    if (target === undefined) {
      throw new Error(`the stage deploys none of ${names.join(', ')}`);
    }
    const integration = this.integrations.get(target) ?? new FunctionIntegration(target, this.permission(target));
    this.integrations.set(target, integration);
    return integration;
  }

  /**
   * Permits every route of this API to invoke a function. API Gateway invokes `$default` as `<api>/<stage>/$default`, and other
   * routes as `<api>/<stage>/<method>/<path>`. The pattern matches both, because a wildcard also matches slashes.
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
        'It answers only 404, 405 and health checks, and changes no data. Every route with data requires a token.',
    });
    return route;
  }

  /**
   * Adds a route for `OPTIONS`. Otherwise `$default` would handle it, whose throttle is too low for the preflights of many pages.
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
      reason: 'A browser sends preflights without a token. The answer contains only the methods of a path.',
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
    // Requests to this route need no token and run the read function, so they must not displace reads.
    (stage.node.defaultChild as CfnStage).routeSettings = {
      $default: {
        ThrottlingRateLimit: Math.min(DEFAULT_THROTTLE, rate),
        ThrottlingBurstLimit: Math.min(DEFAULT_THROTTLE, burst),
      },
    };
    return stage;
  }
}
