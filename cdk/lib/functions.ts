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
import { type CommandQueue, MAX_RECEIVE_COUNT } from './command-queue';
import { basePath, type Config } from './config';
import type { Network } from './network';
import type { Packages } from './packages';
import { acknowledgeLogStreams, permissions } from './permissions';
import {
  appliesAtOnce,
  does,
  type FunctionName,
  holdsSigningKeys,
  queues,
  type Row,
  usesRedis,
  writesOnly,
} from './stages';
import type { Stores } from './stores';

/** As long as a client may have it wait, with `Prefer: wait`. */
const HTTP_TIMEOUT = Duration.seconds(10);
/**
 * A batch takes some milliseconds. What is early waits for twice the queue's visibility timeout, which is six times
 * this.
 */
export const INGEST_TIMEOUT = Duration.seconds(10);

/** Memory buys processor time as well. What is measured and what it costs is in docs/scale.md. */
const MEMORY_MB: Record<FunctionName, number> = {
  'create-user-fn': 256,
  'replace-user-fn': 256,
  'update-user-fn': 256,
  'delete-user-fn': 256,
  'get-user-fn': 256,
  'list-users-fn': 256,
  'get-command-fn': 256,
  'read-fn': 256,
  'write-fn': 256,
  'lith-fn': 256,
  // Eight users of a batch are worked on at a time.
  'ingest-fn': 512,
};

/** What functions use. */
export interface FunctionsProps {
  readonly config: Config;
  readonly row: Row;
  /** That one, and the one that it takes the place of, if it does now. */
  readonly rows: readonly Row[];
  readonly packages: Packages;
  readonly stores: Stores;
  readonly commandQueue: CommandQueue | undefined;
  readonly network: Network | undefined;
  readonly cache: Cache | undefined;
}

/** The functions of a row, each with what it needs and no more. */
export class Functions extends Construct {
  private readonly byName: Map<FunctionName, Function>;
  private readonly aliasOf: Map<FunctionName, Alias>;

  constructor(
    scope: Construct,
    private readonly props: FunctionsProps,
  ) {
    super(scope, 'Functions');
    this.byName = new Map(props.row.functions.map((name) => [name, this.function(name)]));
    this.aliasOf = new Map(props.config.canary ? this.all.map(([name, made]) => [name, this.alias(name, made)]) : []);
    const ingest = this.first('ingest-fn');
    if (ingest !== undefined && props.commandQueue !== undefined) {
      this.connect(ingest, props.commandQueue, props.config.queue);
    }
  }

  get all(): [FunctionName, Function][] {
    return [...this.byName];
  }

  /** What a function is called in AWS. */
  nameOf(name: FunctionName): string {
    return `${this.props.config.name}-${name}`;
  }

  /** What is invoked instead, where new versions are let in by and by. */
  get aliases(): [FunctionName, Alias][] {
    return [...this.aliasOf];
  }

  /** The first of these that the row deploys, as it is to be invoked. */
  first(...names: FunctionName[]): IFunction | undefined {
    return names.map((name) => this.aliasOf.get(name) ?? this.byName.get(name)).find((found) => found !== undefined);
  }

  private alias(name: FunctionName, made: Function): Alias {
    return new Alias(this, `${name}-live`, { aliasName: 'live', version: made.currentVersion });
  }

  private function(name: FunctionName): Function {
    const { config, row, packages, network } = this.props;
    const inNetwork = this.cacheOf(name) !== undefined && network !== undefined;
    const reserved = this.reserved(name);
    const functionName = this.nameOf(name);
    const logGroupName = `/aws/lambda/${functionName}`;
    const logGroup = new LogGroup(this, `${name}-log`, {
      logGroupName,
      retention: config.logRetentionDays,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    return new Function(this, name, {
      functionName,
      description: `Watershed, stage ${row.stage}`,
      runtime: Runtime.PROVIDED_AL2023,
      handler: 'bootstrap',
      code: Code.fromAsset(packages.folder(name)),
      architecture: packages.architecture(name),
      memorySize: MEMORY_MB[name],
      timeout: does(name, 'ingest') ? INGEST_TIMEOUT : HTTP_TIMEOUT,
      ...(reserved !== undefined && { reservedConcurrentExecutions: reserved }),
      environment: this.environment(name),
      role: this.role(name, functionName, logGroupName),
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

  /** The concurrency that is set aside for a function, and that it cannot exceed. */
  private reserved(name: FunctionName): number | undefined {
    const { queue, writeConcurrency } = this.props.config;
    // What applies acknowledged commands does not compete with requests for the account's concurrency.
    if (does(name, 'ingest') && queue.reserved) {
      return concurrency(queue.pollers);
    }
    return writesOnly(name) ? writeConcurrency : undefined;
  }

  /** What shared/src/config.rs reads. */
  private environment(name: FunctionName): Record<string, string> {
    const { config, row, stores, commandQueue } = this.props;
    const cache = this.cacheOf(name);
    const applies = appliesAtOnce(row, name) || does(name, 'ingest');
    const knowsViews = applies || queues(row, name) || does(name, 'get', 'list');
    const usesQueue = queues(row, name) || does(name, 'ingest');
    const knowsRecords = applies || queues(row, name) || does(name, 'get', 'look-up');
    const readsStates = does(name, 'get', 'list') && row.reads_from === 'write-store';
    const variables = {
      STAGE: row.stage,
      METRICS: 'emf',
      BASE_PATH: does(name, 'ingest') ? undefined : basePath(config) || undefined,
      COMMANDS_TABLE: knowsRecords ? stores.commands.tableName : undefined,
      WRITE_TABLE: applies || readsStates ? stores.write.tableName : undefined,
      READ_TABLE: knowsViews ? stores.readName : undefined,
      OTHER_READ_TABLE: does(name, 'ingest') ? stores.otherRead?.tableName : undefined,
      QUEUE_URL: usesQueue ? commandQueue?.queue.queueUrl : undefined,
      VISIBILITY_TIMEOUT_SECONDS: usesQueue ? commandQueue?.visibilityTimeout.toSeconds().toString() : undefined,
      MAX_RECEIVE_COUNT: does(name, 'ingest') ? MAX_RECEIVE_COUNT.toString() : undefined,
      REDIS_URL: cache?.url,
      REDIS_IAM_CACHE: cache?.name,
      SIGNING_KEYS_SECRET: holdsSigningKeys(name) ? config.signingKeysSecret : undefined,
      // Nobody reads it. Another one makes another version, and with it environments that know the keys of today.
      SIGNING_KEYS_REVISION: holdsSigningKeys(name) ? config.keysRevision.toString() : undefined,
    };
    return Object.fromEntries(
      Object.entries(variables).filter((entry): entry is [string, string] => entry[1] !== undefined),
    );
  }

  /** Nothing else adds to its policy. */
  private role(name: FunctionName, functionName: string, logGroupName: string): IRole {
    const { config, rows, stores, commandQueue, cache } = this.props;
    const stack = Stack.of(this);
    const policy = permissions(name, rows, {
      stores,
      commandQueue,
      cache,
      signingKeysSecret: config.signingKeysSecret,
      tracing: config.tracing,
      logGroupArn: stack.formatArn({ service: 'logs', resource: `log-group:${logGroupName}` }),
      functionArn: stack.formatArn({ service: 'lambda', resource: `function:${functionName}` }),
    });
    const role = new Role(this, `${name}-role`, {
      assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
      inlinePolicies: { permissions: policy },
    });
    acknowledgeLogStreams(role, logGroupName);
    Validations.of(role).acknowledge({
      id: 'AwsSolutions::AwsSolutions-IAM5[Resource::*]',
      reason:
        'X-Ray has no resources, and the interfaces by which Lambda plugs a function into a network have no names.',
    });
    return role.withoutPolicyUpdates();
  }

  /** The cache, where this function uses it. */
  private cacheOf(name: FunctionName): Cache | undefined {
    return usesRedis(this.props.row, name) ? this.props.cache : undefined;
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

/** How many batches there are at once at most: a provisioned poller has up to ten under way. */
function concurrency(pollers: Config['queue']['pollers']): number {
  return 'maximumConcurrency' in pollers ? pollers.maximumConcurrency : pollers.maximumPollers * 10;
}
