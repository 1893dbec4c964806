import { Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { type IRole, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import {
  Alias,
  Code,
  EventSourceMapping,
  Function,
  type IFunction,
  LoggingFormat,
  Runtime,
  Tracing,
} from 'aws-cdk-lib/aws-lambda';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { Cache } from './cache';
import { type CommandQueue, INGEST_TIMEOUT, MAX_RECEIVE_COUNT } from './command-queue';
import { basePath, type Config } from './config';
import type { Network } from './network';
import type { Packages } from './packages';
import { acknowledgeLogStreams, permissions } from './permissions';
import type { FunctionSpec } from './service';
import { appliesAtOnce, does, holdsSigningKeys, queues, type StageConfig, usesRedis, writesOnly } from './stages';
import type { Stores } from './stores';

/** The maximum wait that a client can request with `Prefer: wait`. */
const HTTP_TIMEOUT = Duration.seconds(10);
/** The memory of a function, which also decides its processor time. docs/cost.md has the costs. */
const MEMORY_MB = 256;
/** The memory of ingest-fn, which works on eight items of a batch in parallel. */
const INGEST_MEMORY_MB = 512;

/** The parts that functions use. */
export interface FunctionsProps {
  readonly config: Config;
  readonly row: StageConfig;
  /** The stage, and during a step also the stage that it replaces. */
  readonly rows: readonly StageConfig[];
  readonly packages: Packages;
  readonly stores: Stores;
  readonly commandQueue: CommandQueue | undefined;
  readonly network: Network | undefined;
  readonly cache: Cache | undefined;
}

/** The functions of a stage, each with its minimum permissions. */
export class Functions extends Construct {
  private readonly functions: Map<FunctionSpec, Function>;
  private readonly aliasOf: Map<FunctionSpec, Alias>;

  constructor(
    scope: Construct,
    private readonly props: FunctionsProps,
  ) {
    super(scope, 'Functions');
    this.functions = new Map(props.row.functions.map((spec) => [spec, this.function(spec)]));
    this.aliasOf = new Map(props.config.canary ? this.all.map(([spec, fn]) => [spec, this.alias(spec, fn)]) : []);
    const ingest = this.first(['ingest-fn']);
    if (ingest !== undefined && props.commandQueue !== undefined) {
      this.connect(ingest, props.commandQueue, props.config.queue);
    }
  }

  get all(): [FunctionSpec, Function][] {
    return [...this.functions];
  }

  /** Returns the name of a function in AWS. */
  nameOf(name: string): string {
    return `${this.props.config.name}-${name}`;
  }

  /** The aliases to invoke instead of the functions, if the canary is on. */
  get aliases(): [FunctionSpec, Alias][] {
    return [...this.aliasOf];
  }

  /**
   * Returns the first of the functions with these names that the stage deploys: its alias if it has one, otherwise the function.
   */
  first(names: readonly string[]): IFunction | undefined {
    const [spec] = names.flatMap((name) => this.props.row.functions.find((spec) => spec.name === name) ?? []);
    return spec && (this.aliasOf.get(spec) ?? this.functions.get(spec));
  }

  private alias(spec: FunctionSpec, fn: Function): Alias {
    return new Alias(this, `${spec.name}-live`, { aliasName: 'live', version: fn.currentVersion });
  }

  private function(spec: FunctionSpec): Function {
    const { config, row, packages, network } = this.props;
    const inNetwork = this.cacheOf(spec) !== undefined && network !== undefined;
    const reserved = this.reserved(spec);
    const functionName = this.nameOf(spec.name);
    const logGroupName = `/aws/lambda/${functionName}`;
    const logGroup = new LogGroup(this, `${spec.name}-log`, {
      logGroupName,
      retention: config.logRetentionDays,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    return new Function(this, spec.name, {
      functionName,
      description: `Watershed, stage ${row.stage}`,
      runtime: Runtime.PROVIDED_AL2023,
      handler: 'bootstrap',
      code: Code.fromAsset(packages.folder(spec.binary)),
      architecture: packages.architecture(spec.binary),
      memorySize: does(spec, 'ingest') ? INGEST_MEMORY_MB : MEMORY_MB,
      timeout: does(spec, 'ingest') ? INGEST_TIMEOUT : HTTP_TIMEOUT,
      ...(reserved !== undefined && { reservedConcurrentExecutions: reserved }),
      environment: this.environment(spec),
      role: this.role(spec, functionName, logGroupName),
      logGroup,
      loggingFormat: LoggingFormat.JSON,
      tracing: config.tracing ? Tracing.ACTIVE : Tracing.PASS_THROUGH,
      ...(inNetwork && {
        vpc: network.vpc,
        vpcSubnets: { subnets: network.vpc.isolatedSubnets },
        securityGroups: [network.functions],
      }),
    });
  }

  /** Returns the reserved concurrency of a function, which is also its maximum. */
  private reserved(spec: FunctionSpec): number | undefined {
    const { queue, writeConcurrency } = this.props.config;
    // ingest-fn applies acknowledged commands, so it must not compete with requests for the account's concurrency.
    if (does(spec, 'ingest') && queue.reserved) {
      return concurrency(queue.pollers);
    }
    return writesOnly(spec) ? writeConcurrency : undefined;
  }

  /** Returns the environment variables that shared/src/config.rs reads. */
  private environment(spec: FunctionSpec): Record<string, string> {
    const { config, row, stores, commandQueue } = this.props;
    const cache = this.cacheOf(spec);
    const applies = appliesAtOnce(row, spec) || does(spec, 'ingest');
    const knowsViews = applies || queues(row, spec) || does(spec, 'get', 'list');
    const usesQueue = queues(row, spec) || does(spec, 'ingest');
    // A command may wait for a queued one.
    const awaits = usesQueue || (applies && row.queue_deployed);
    const knowsRecords = applies || queues(row, spec) || does(spec, 'get', 'look-up');
    const readsStates = does(spec, 'get', 'list') && row.reads_from === 'write-store';
    const variables = {
      STAGE: row.stage,
      RESOURCE: spec.resource,
      ACTION: spec.action,
      METRICS: 'emf',
      BASE_PATH: does(spec, 'ingest') ? undefined : basePath(config) || undefined,
      COMMANDS_TABLE: knowsRecords ? stores.commands.tableName : undefined,
      WRITE_TABLE: applies || readsStates ? stores.write.tableName : undefined,
      READ_TABLE: knowsViews ? stores.readName : undefined,
      OTHER_READ_TABLE: does(spec, 'ingest') ? stores.otherRead?.tableName : undefined,
      QUEUE_URL: usesQueue ? commandQueue?.queue.queueUrl : undefined,
      VISIBILITY_TIMEOUT_SECONDS: awaits ? commandQueue?.visibilityTimeout.toSeconds().toString() : undefined,
      MAX_RECEIVE_COUNT: does(spec, 'ingest') ? MAX_RECEIVE_COUNT.toString() : undefined,
      REDIS_URL: cache?.url,
      REDIS_IAM_CACHE: cache?.name,
      SIGNING_KEYS_SECRET: holdsSigningKeys(spec) ? config.signingKeysSecret : undefined,
      // The code does not read it. A new value makes a new version, whose environments read the current keys.
      SIGNING_KEYS_REVISION: holdsSigningKeys(spec) ? config.keysRevision.toString() : undefined,
    };
    return Object.fromEntries(
      Object.entries(variables).filter((entry): entry is [string, string] => entry[1] !== undefined),
    );
  }

  /** Returns the role of a function. No other construct adds to its policy. */
  private role(spec: FunctionSpec, functionName: string, logGroupName: string): IRole {
    const { config, rows, stores, commandQueue, cache } = this.props;
    const stack = Stack.of(this);
    const policy = permissions(spec, rows, {
      stores,
      commandQueue,
      cache,
      signingKeysSecret: config.signingKeysSecret,
      tracing: config.tracing,
      logGroupArn: stack.formatArn({ service: 'logs', resource: `log-group:${logGroupName}` }),
      functionArn: stack.formatArn({ service: 'lambda', resource: `function:${functionName}` }),
    });
    const role = new Role(this, `${spec.name}-role`, {
      assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
      inlinePolicies: { permissions: policy },
    });
    acknowledgeLogStreams(role, logGroupName);
    Validations.of(role).acknowledge({
      id: 'AwsSolutions::AwsSolutions-IAM5[Resource::*]',
      reason:
        'X-Ray has no resources, and the network interfaces that Lambda creates for a function have no names beforehand.',
    });
    return role.withoutPolicyUpdates();
  }

  /** Returns the cache if the function uses it. */
  private cacheOf(spec: FunctionSpec): Cache | undefined {
    return usesRedis(this.props.row, spec) ? this.props.cache : undefined;
  }

  private connect(
    ingest: IFunction,
    { queue }: CommandQueue,
    { batchSize, windowSeconds, pollers }: Config['queue'],
  ): void {
    new EventSourceMapping(this, 'Commands', {
      target: ingest,
      eventSourceArn: queue.queueArn,
      batchSize,
      ...(windowSeconds > 0 && { maxBatchingWindow: Duration.seconds(windowSeconds) }),
      reportBatchItemFailures: true,
      ...('maximumConcurrency' in pollers
        ? { maxConcurrency: pollers.maximumConcurrency }
        : { provisionedPollerConfig: pollers }),
    });
  }
}

/** Returns the maximum number of parallel batches. A provisioned poller runs up to ten. */
function concurrency(pollers: Config['queue']['pollers']): number {
  return 'maximumConcurrency' in pollers ? pollers.maximumConcurrency : pollers.maximumPollers * 10;
}
