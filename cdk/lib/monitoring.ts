import { Duration, Stack } from 'aws-cdk-lib';
import {
  Alarm,
  ComparisonOperator,
  Dashboard,
  GraphWidget,
  type IMetric,
  type IWidget,
  MathExpression,
  Metric,
  TreatMissingData,
} from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import type { TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import { Effect, PolicyStatement, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import { Construct } from 'constructs';
import type { Api } from './api';
import type { Cache } from './cache';
import type { CommandQueue } from './command-queue';
import type { Config } from './config';
import type { DomainEvents } from './domain-events';
import type { Functions } from './functions';
import type { Row } from './stages';
import type { Stores } from './stores';
import type { Verification } from './verification';

/** What is watched. */
export interface MonitoringProps {
  readonly config: Config;
  readonly row: Row;
  readonly api: Api;
  readonly functions: Functions;
  readonly stores: Stores;
  readonly commandQueue: CommandQueue | undefined;
  readonly cache: Cache | undefined;
  readonly domainEvents: DomainEvents | undefined;
  readonly verification: Verification | undefined;
}

/** When somebody is told. */
interface Threshold {
  readonly metric: IMetric;
  /** Worse than this, for so many minutes. */
  readonly above: number;
  readonly minutes: number;
  /** What it means and where to read on. */
  readonly means: string;
}

const MINUTE = Duration.minutes(1);

/** Alarms with a topic, each with its page in docs/operations.md, and one dashboard. */
export class Monitoring extends Construct {
  readonly topic: Topic;
  /** Those that go off when new code of functions is bad. */
  readonly ofFunctions: Alarm[];

  constructor(
    scope: Construct,
    private readonly props: MonitoringProps,
  ) {
    super(scope, 'Monitoring');
    this.topic = this.alarmTopic();
    const alarms = new Map(Object.entries(this.thresholds()).map(([id, threshold]) => [id, this.alarm(id, threshold)]));
    this.ofFunctions = ['ServerErrors', 'Latency', 'FunctionErrors'].flatMap((id) => alarms.get(id) ?? []);
    new Dashboard(this, 'Dashboard', {
      dashboardName: props.config.name,
      defaultInterval: Duration.hours(3),
      widgets: [this.requests(), this.reads(), ...(props.commandQueue ? [this.commands()] : []), this.costs()],
    });
  }

  private alarmTopic(): Topic {
    const topic = new Topic(this, 'Alarms', { enforceSSL: true });
    // A policy of its own takes the place of the one by which an account's alarms may publish.
    topic.addToResourcePolicy(
      new PolicyStatement({
        effect: Effect.ALLOW,
        principals: [new ServicePrincipal('cloudwatch.amazonaws.com')],
        actions: ['sns:Publish'],
        resources: [topic.topicArn],
        conditions: { StringEquals: { 'aws:SourceAccount': Stack.of(this).account } },
      }),
    );
    if (this.props.config.alarmEmail !== undefined) {
      topic.addSubscription(new EmailSubscription(this.props.config.alarmEmail));
    }
    return topic;
  }

  private alarm(id: string, { metric, above, minutes, means }: Threshold): Alarm {
    const alarm = new Alarm(this, id, {
      metric,
      threshold: above,
      comparisonOperator: ComparisonOperator.GREATER_THAN_THRESHOLD,
      evaluationPeriods: minutes,
      datapointsToAlarm: minutes,
      treatMissingData: TreatMissingData.NOT_BREACHING,
      alarmDescription: means,
    });
    alarm.addAlarmAction(new SnsAction(this.topic));
    alarm.addOkAction(new SnsAction(this.topic));
    return alarm;
  }

  private thresholds(): Record<string, Threshold> {
    const { api, stores, functions, commandQueue, domainEvents, cache, verification } = this.props;
    return {
      ServerErrors: {
        metric: new MathExpression({
          expression: '100 * errors / MAX([requests, 1])',
          usingMetrics: {
            errors: api.api.metricServerError({ period: MINUTE }),
            requests: api.api.metricCount({ period: MINUTE }),
          },
          label: 'Requests answered with 5xx, %',
          period: MINUTE,
        }),
        above: 1,
        minutes: 5,
        means:
          'More than 1 % of the requests are answered with 5xx: look at the log of the function that answers the route.',
      },
      Latency: {
        metric: api.api.metricLatency({ statistic: 'p99', period: MINUTE }),
        above: 2_000,
        minutes: 5,
        means:
          'One request in a hundred takes more than 2 s: see "Throttling" and "Redis is down" in docs/operations.md.',
      },
      FunctionErrors: {
        metric: total(
          functions.all.map(([, made]) => made.metricErrors({ period: MINUTE })),
          'Invocations that failed',
        ),
        above: 0,
        minutes: 3,
        means: 'Invocations end without an answer: out of time or memory, or killed. The log of the function says why.',
      },
      FunctionThrottles: {
        metric: total(
          functions.all.map(([, made]) => made.metricThrottles({ period: MINUTE })),
          'Invocations refused',
        ),
        above: 0,
        minutes: 3,
        means:
          'The account has no environments left for the functions: ask AWS for a higher quota of concurrent executions.',
      },
      ...this.ofTables(stores),
      ...(commandQueue && this.ofQueue(commandQueue)),
      ...(cache && {
        CacheThrottles: {
          metric: ofCache(cache, 'ThrottledCmds', MINUTE),
          above: 0,
          minutes: 5,
          means:
            'Redis is at the limit in cdk/lib/cache.ts. Reads go to the store meanwhile: see "Redis is down" in docs/operations.md.',
        },
      }),
      ...(verification && {
        NotVerified: {
          metric: verification.project.metricFailedBuilds({ period: Duration.minutes(5) }),
          above: 0,
          minutes: 1,
          means: 'The nightly comparison of the stores found a difference, or could not end: its log says which.',
        },
      }),
      ...(domainEvents && {
        UnpublishedEvents: {
          metric: domainEvents.deadLetters.metricApproximateNumberOfMessagesVisible({
            statistic: 'Maximum',
            period: MINUTE,
          }),
          above: 0,
          minutes: 1,
          means: 'Changes could not be published on the event bus: they wait in a queue of their own.',
        },
      }),
    };
  }

  /** One for each, because an alarm takes ten metrics at most, and a table with its indexes has eight. */
  private ofTables(stores: Stores): Record<string, Threshold> {
    const threshold = (table: TableV2): Threshold => ({
      metric: throttles(stores, table, 'Throttled reads and writes'),
      above: 0,
      minutes: 3,
      means: 'DynamoDB refuses requests: see "Throttling" and "A hot tenant" in docs/operations.md.',
    });
    return Object.fromEntries(stores.all.map((table) => [`${table.node.id}TableThrottles`, threshold(table)]));
  }

  private ofQueue({ queue, deadLetters }: CommandQueue): Record<string, Threshold> {
    return {
      Backlog: {
        metric: queue.metricApproximateAgeOfOldestMessage({ statistic: 'Maximum', period: MINUTE }),
        above: 120,
        minutes: 5,
        means: 'Commands wait for more than two minutes: see "The backlog grows" in docs/operations.md.',
      },
      DeadLetters: {
        metric: deadLetters.metricApproximateNumberOfMessagesVisible({ statistic: 'Maximum', period: MINUTE }),
        above: 0,
        minutes: 1,
        means: 'A command that was acknowledged could not be applied: see "Dead letters" in docs/operations.md.',
      },
      ProjectionLag: {
        metric: this.ofIngest('ProjectionLag', 'p99'),
        above: 10_000,
        minutes: 5,
        means: 'What was written becomes readable more than 10 s later: see "Projections lag" in docs/operations.md.',
      },
      CommandsFailed: {
        metric: this.ofIngest('CommandsFailed', 'Sum'),
        above: 0,
        // Only last deliveries count: there is no second minute to wait for.
        minutes: 1,
        means: 'Commands were given up, and are dead letters now: see "Dead letters" in docs/operations.md.',
      },
    };
  }

  /** A metric that ingest-fn tells of itself. */
  private ofIngest(metricName: string, statistic: string): Metric {
    const { config, row } = this.props;
    const dimensionsMap = { Function: `${config.name}-ingest-fn`, Stage: row.stage };
    return new Metric({ namespace: 'Watershed', metricName, dimensionsMap, statistic, period: MINUTE });
  }

  /** Latency and errors, for each route. */
  private requests(): IWidget[] {
    const { api } = this.props.api;
    return [
      graph('Requests a minute, by route', [this.each('Requests', 'Sum')]),
      graph('Latency by route, p99, ms', [this.each('Latency', 'p99')]),
      graph('Errors by route', [this.each('Errors', 'Sum')]),
      graph('At the front door', [
        api.metricCount({ period: MINUTE }),
        api.metricClientError({ period: MINUTE }),
        api.metricServerError({ period: MINUTE }),
      ]),
    ];
  }

  private reads(): IWidget[] {
    const { functions, stores, row } = this.props;
    const ratio = (layer: string) => {
      const count = (name: string) => `SUM(${this.found(name, 'Sum', 'Layer', `Layer="${layer}"`)})`;
      const expression = `100 * ${count('CacheHits')} / (${count('CacheHits')} + ${count('CacheMisses')})`;
      return new MathExpression({ expression, label: layer, period: MINUTE });
    };
    return [
      ...(row.caches.length > 0 ? [graph('Answered by the cache, %', row.caches.map(ratio))] : []),
      graph(
        'Environments at work',
        functions.all.map(([name, made]) =>
          named(made.metric('ConcurrentExecutions', { statistic: 'Maximum', period: MINUTE }), name),
        ),
      ),
      graph('Throttled', [
        total(
          functions.all.map(([, made]) => made.metricThrottles({ period: MINUTE })),
          'invocations',
        ),
        ...stores.all.map((table) => throttles(stores, table, `table ${table.node.id}`)),
      ]),
    ];
  }

  private commands(): IWidget[] {
    const { commandQueue } = this.props;
    if (commandQueue === undefined) {
      return [];
    }
    const { queue, deadLetters } = commandQueue;
    return [
      graph('Age of the oldest command, s', [
        queue.metricApproximateAgeOfOldestMessage({ statistic: 'Maximum', period: MINUTE }),
      ]),
      graph('Commands that wait, and dead letters', [
        queue.metricApproximateNumberOfMessagesVisible({ statistic: 'Maximum', period: MINUTE }),
        deadLetters.metricApproximateNumberOfMessagesVisible({ statistic: 'Maximum', period: MINUTE }),
      ]),
      graph('Until it is readable, ms', [this.ofIngest('ProjectionLag', 'p50'), this.ofIngest('ProjectionLag', 'p99')]),
      graph(
        'Commands',
        ['CommandsApplied', 'CommandsRefused', 'CommandsFailed'].map((name) => this.ofIngest(name, 'Sum')),
      ),
    ];
  }

  /** What the bill is made of. */
  private costs(): IWidget[] {
    const { api, functions, stores, commandQueue, cache } = this.props;
    const hour = Duration.hours(1);
    const units = (metricName: string) =>
      stores.all.map((table) => total(ofTable(stores, table, metricName), table.node.id, hour));
    return [
      graph('Requests and invocations an hour', [
        api.api.metricCount({ period: hour }),
        ...functions.all.map(([name, made]) => named(made.metricInvocations({ period: hour }), name)),
        ...(commandQueue ? [commandQueue.queue.metricNumberOfMessagesSent({ period: hour })] : []),
      ]),
      graph(
        'Milliseconds of functions an hour',
        functions.all.map(([name, made]) => named(made.metricDuration({ statistic: 'Sum', period: hour }), name)),
      ),
      graph('Write units an hour', units('ConsumedWriteCapacityUnits')),
      graph('Read units an hour', units('ConsumedReadCapacityUnits')),
      ...(cache ? [graph('Redis, ECPU an hour', [ofCache(cache, 'ElastiCacheProcessingUnits', hour)])] : []),
    ];
  }

  /** A metric that the functions tell of themselves, for each route. */
  private each(metricName: string, statistic: string): MathExpression {
    return new MathExpression({ expression: this.found(metricName, statistic, 'Route'), label: '', period: MINUTE });
  }

  /** What is found of a metric with this dimension besides those that all have. */
  private found(metricName: string, statistic: string, dimension: string, condition = ''): string {
    const { config, row } = this.props;
    const functions = row.functions.map((name) => `"${config.name}-${name}"`).join(' OR ');
    const query = `MetricName="${metricName}" Stage="${row.stage}" Function=(${functions}) ${condition}`.trimEnd();
    return `SEARCH('{Watershed,Function,${dimension},Stage} ${query}', '${statistic}', 60)`;
  }
}

function graph(title: string, left: IMetric[]): GraphWidget {
  return new GraphWidget({ title, left, width: 6, height: 6 });
}

function named(metric: Metric, label: string): Metric {
  return metric.with({ label });
}

function ofCache(cache: Cache, metricName: string, period: Duration): Metric {
  const dimensionsMap = { clusterId: cache.name };
  return new Metric({ namespace: 'AWS/ElastiCache', metricName, dimensionsMap, statistic: 'Sum', period });
}

/** A metric of a table, and of each of its indexes: the table's does not count them. */
function ofTable(stores: Stores, table: TableV2, metricName: string): Metric[] {
  const indexes = stores.indexesOf(table).map((GlobalSecondaryIndexName) => ({ GlobalSecondaryIndexName }));
  return [{}, ...indexes].map((index) => {
    const dimensionsMap = { TableName: table.tableName, ...index };
    return new Metric({ namespace: 'AWS/DynamoDB', metricName, dimensionsMap, statistic: 'Sum' });
  });
}

function throttles(stores: Stores, table: TableV2, label: string): MathExpression {
  const names = ['ReadThrottleEvents', 'WriteThrottleEvents'];
  return total(
    names.flatMap((metricName) => ofTable(stores, table, metricName)),
    label,
  );
}

/** The sum of metrics. Their ids hold the label, because those of one graph share a namespace. */
function total(metrics: IMetric[], label: string, period = MINUTE): MathExpression {
  const prefix = label.toLowerCase().replace(/\W/g, '');
  const usingMetrics = Object.fromEntries(metrics.map((metric, place) => [`${prefix}${place}`, metric]));
  return new MathExpression({ expression: `SUM([${Object.keys(usingMetrics)}])`, usingMetrics, label, period });
}
