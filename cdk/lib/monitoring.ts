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
import type { Alias } from 'aws-cdk-lib/aws-lambda';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import type { Api } from './api';
import type { Cache } from './cache';
import type { CommandQueue } from './command-queue';
import type { Config } from './config';
import type { DomainEvents } from './domain-events';
import type { Functions } from './functions';
import type { FunctionSpec } from './service';
import { does, queues, type StageConfig } from './stages';
import type { Stores } from './stores';
import type { Verification } from './verification';

/** The monitored parts. */
export interface MonitoringProps {
  readonly config: Config;
  readonly row: StageConfig;
  readonly api: Api;
  readonly functions: Functions;
  readonly stores: Stores;
  readonly commandQueue: CommandQueue | undefined;
  readonly cache: Cache | undefined;
  readonly domainEvents: DomainEvents | undefined;
  readonly verification: Verification | undefined;
}

/** An alarm that goes off if a metric, measured each minute, is too high. */
interface TooHigh {
  readonly metric: IMetric;
  readonly above: number;
  /** The number of minutes that must be too high: in a row, or among the last `outOf`. */
  readonly minutes: number;
  readonly outOf?: number;
  /** The event, and the first thing to do. */
  readonly description: string;
  /** The section of docs/operations.md with the next steps. */
  readonly section: string;
}

/** An alarm that goes off if an expected event did not happen. Missing data counts as no event. */
interface Overdue {
  readonly metric: IMetric;
  readonly fewerThan: number;
  readonly hours: number;
  readonly description: string;
  readonly section: string;
}

type Thresholds = Record<string, TooHigh | Overdue>;

/**
 * The maximum number of metrics in an alarm:
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
 */
const METRICS_MAX = 10;
/**
 * The maximum number of functions in a search. A search takes at most 1,024 characters:
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/search-expression-syntax.html
 */
const SEARCHED_MAX = 10;

const MINUTE = Duration.minutes(1);
const HOUR = Duration.hours(1);

/** The duration of a canary. The canary of a function with little traffic has minutes without requests. */
const CANARY_MINUTES = 10;

/** The alarms with their topic, and one dashboard. docs/operations.md describes each alarm. */
export class Monitoring extends Construct {
  readonly topic: Topic;
  private readonly alarms: Map<string, Alarm>;

  constructor(
    scope: Construct,
    private readonly props: MonitoringProps,
  ) {
    super(scope, 'Monitoring');
    this.topic = this.alarmTopic();
    this.alarms = new Map(Object.entries(this.thresholds()).map(([id, threshold]) => [id, this.alarm(id, threshold)]));
    new Dashboard(this, 'Dashboard', {
      dashboardName: props.config.name,
      defaultInterval: Duration.hours(3),
      widgets: [this.requests(), this.reads(), ...(props.commandQueue ? [this.commands()] : []), this.costs()],
    });
  }

  /**
   * Returns the alarms that roll back new code of a function: its own, those of the commands that it sends or applies, and the
   * front door's. The front door's are included because readers may fail on data that a writer stored.
   *
   * CodeDeploy takes at most ten alarms for a deployment group:
   * https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-codedeploy-deploymentgroup-alarmconfiguration.html
   */
  rollbackAlarms(spec: FunctionSpec): Alarm[] {
    const ofCommands = queues(this.props.row, spec) || does(spec, 'ingest');
    const ids = [
      ...['ServerErrors', 'Latency', 'InvocationErrors'].map((suffix) => idOf(spec.name, suffix)),
      ...(ofCommands ? ['DeliveriesFailed', 'CommandsFailed', 'ProjectionLag'] : []),
      'ServerErrors',
    ];
    return ids.flatMap((id) => this.alarms.get(id) ?? []);
  }

  private alarmTopic(): Topic {
    const topic = new Topic(this, 'Alarms', { enforceSSL: true });
    // An explicit policy replaces the default one, which lets the account's alarms publish. So grant that again.
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

  private alarm(id: string, threshold: TooHigh | Overdue): Alarm {
    const alarm = new Alarm(this, id, {
      metric: threshold.metric,
      alarmDescription: `${threshold.description} See "${threshold.section}" in docs/operations.md.`,
      ...('above' in threshold ? whenTooHigh(threshold) : whenOverdue(threshold)),
    });
    alarm.addAlarmAction(new SnsAction(this.topic));
    alarm.addOkAction(new SnsAction(this.topic));
    return alarm;
  }

  private thresholds(): Thresholds {
    const { stores, commandQueue, domainEvents, cache, verification } = this.props;
    return {
      ...this.frontDoorAlarms(),
      ...this.functionAlarms(),
      ...this.newCodeAlarms(),
      ...this.tableAlarms(stores),
      ...(commandQueue && this.queueAlarms(commandQueue)),
      ...(cache && {
        CacheThrottles: {
          metric: cacheMetric(cache, 'ThrottledCmds', MINUTE),
          above: 0,
          minutes: 5,
          description:
            'Redis throttles commands, at its limits in cdk/lib/cache.ts. Reads go to the store. Check if the load is real.',
          section: 'Redis is down',
        },
      }),
      ...(verification && verificationAlarms(verification)),
      ...(domainEvents && {
        UnpublishedEvents: {
          metric: visibleMessages(domainEvents.deadLetters),
          above: 0,
          minutes: 1,
          description:
            'The pipe could not put changes on the event bus, and gave them up. Check the bus and the role of the pipe.',
          section: 'Changes are not published',
        },
      }),
    };
  }

  private frontDoorAlarms(): Thresholds {
    const { api } = this.props.api;
    return {
      ServerErrors: {
        metric: percentage('errors', 'requests', 'Requests answered with 5xx, %', {
          errors: api.metricServerError({ period: MINUTE }),
          requests: api.metricCount({ period: MINUTE }),
        }),
        above: 1,
        minutes: 5,
        description: 'More than 1 % of the requests get a 5xx answer. Find the failing route on the dashboard.',
        section: 'Errors and delays',
      },
      Latency: {
        metric: api.metricLatency({ statistic: 'p99', period: MINUTE }),
        above: 2_000,
        minutes: 5,
        description: 'More than 1 % of the requests take longer than 2 s. Find the slow route on the dashboard.',
        section: 'Errors and delays',
      },
    };
  }

  /** Returns two alarms for all functions, or for each ten of them if there are more. */
  private functionAlarms(): Thresholds {
    const tens = chunks(this.props.functions.all, METRICS_MAX);
    const alarms = tens.map((functions, index) => alarmsOfTen(functions, index === 0 ? '' : `${index + 1}`));
    return Object.assign({}, ...alarms);
  }

  /**
   * Returns the alarms of each function with a canary. A tenth of one function's requests is hard to see at the front door, and
   * easy to see among the requests of that function.
   */
  private newCodeAlarms(): Thresholds {
    const alarms = this.props.functions.aliases.map(([spec, alias]): Thresholds => ({
      ...(!does(spec, 'ingest') && this.answerAlarms(spec.name)),
      [idOf(spec.name, 'InvocationErrors')]: {
        metric: errorsOfVersion(alias),
        above: 0,
        minutes: 3,
        outOf: CANARY_MINUTES,
        description: `Invocations of the newest version of ${spec.name} fail. CodeDeploy rolls back a deployment in progress. Read the function's log.`,
        section: 'New code is rolled back',
      },
    }));
    return Object.assign({}, ...alarms);
  }

  private answerAlarms(name: string): Thresholds {
    return {
      [idOf(name, 'ServerErrors')]: {
        metric: percentage('errors', 'requests', `Requests that ${name} answers with 5xx, %`, {
          errors: this.functionMetric(name, 'Errors', 'Sum'),
          requests: this.functionMetric(name, 'Requests', 'Sum'),
        }),
        above: 1,
        minutes: 3,
        outOf: CANARY_MINUTES,
        description: `${name} answers more than 1 % of its requests with 5xx. CodeDeploy rolls back a deployment in progress. Read the function's log.`,
        section: 'New code is rolled back',
      },
      [idOf(name, 'Latency')]: {
        metric: this.functionMetric(name, 'Latency', 'p99'),
        above: 2_000,
        minutes: 5,
        outOf: CANARY_MINUTES,
        description: `${name} takes longer than 2 s for more than 1 % of its requests. CodeDeploy rolls back a deployment in progress. Read the function's log.`,
        section: 'New code is rolled back',
      },
    };
  }

  /** Returns two alarms for each table, because an alarm takes at most ten metrics, and a table with its indexes has twelve. */
  private tableAlarms(stores: Stores): Thresholds {
    const threshold = (table: TableV2, access: 'Read' | 'Write'): TooHigh => ({
      metric: sum(tableMetrics(stores, table, `${access}ThrottleEvents`), `Throttled ${access.toLowerCase()}s`),
      above: 0,
      minutes: 3,
      description: `DynamoDB throttles ${access.toLowerCase()}s of table ${table.node.id} or its indexes. Find the throttled key.`,
      section: 'Throttling',
    });
    const alarms = stores.all.map((table) => ({
      [`${table.node.id}TableThrottledReads`]: threshold(table, 'Read'),
      [`${table.node.id}TableThrottledWrites`]: threshold(table, 'Write'),
    }));
    return Object.assign({}, ...alarms);
  }

  private queueAlarms({ queue, deadLetters }: CommandQueue): Thresholds {
    return {
      Backlog: {
        metric: queue.metricApproximateAgeOfOldestMessage({ statistic: 'Maximum', period: MINUTE }),
        above: 120,
        minutes: 5,
        description:
          'The oldest command in the queue is more than 2 minutes old. Run `watershed queue`. Do not purge the queue.',
        section: 'The backlog grows',
      },
      DeadLetters: {
        metric: visibleMessages(deadLetters),
        above: 0,
        minutes: 1,
        description: 'Acknowledged commands used up their deliveries, and are dead letters. Run `watershed dlq list`.',
        section: 'Dead letters',
      },
      ProjectionLag: {
        metric: this.ingestMetric('ProjectionLag', 'p99'),
        above: 10_000,
        minutes: 5,
        description:
          'More than 1 % of the commands take longer than 10 s to become readable. Check the read store for throttling.',
        section: 'Projections lag',
      },
      CommandsFailed: {
        metric: this.ingestMetric('CommandsFailed', 'Sum'),
        above: 0,
        // The metric counts last deliveries only, so a second minute would show nothing more.
        minutes: 1,
        description: 'Commands failed at their last delivery, and become dead letters. Run `watershed dlq list`.',
        section: 'Dead letters',
      },
      DeliveriesFailed: {
        metric: percentage('failed', 'applied + refused + failed', 'Failed deliveries of commands, %', {
          applied: this.ingestMetric('CommandsApplied', 'Sum'),
          refused: this.ingestMetric('CommandsRefused', 'Sum'),
          failed: this.ingestMetric('DeliveriesFailed', 'Sum'),
        }),
        above: 1,
        minutes: 3,
        outOf: CANARY_MINUTES,
        description:
          'ingest-fn fails at more than 1 % of the commands. None is lost: SQS delivers them again. Read its log.',
        section: 'Deliveries fail',
      },
    };
  }

  private ingestMetric(metricName: string, statistic: string): Metric {
    return this.functionMetric('ingest-fn', metricName, statistic);
  }

  /**
   * Returns a metric that a function writes, with the dimensions of shared/src/metrics/emf.rs. During a step, only the new code
   * writes with the new stage's name.
   */
  private functionMetric(name: string, metricName: string, statistic: string): Metric {
    const { functions, row } = this.props;
    const dimensionsMap = { Function: functions.nameOf(name), Stage: row.stage };
    return new Metric({ namespace: 'Watershed', metricName, dimensionsMap, statistic, period: MINUTE });
  }

  /** Returns the graphs of latency and errors, by route. */
  private requests(): IWidget[] {
    const { api } = this.props.api;
    return [
      graph('Requests a minute, by route', this.byRoute('Requests', 'Sum')),
      graph('Latency by route, p99, ms', this.byRoute('Latency', 'p99')),
      graph('Errors by route', this.byRoute('Errors', 'Sum')),
      graph('Requests and errors at the front door', [
        api.metricCount({ period: MINUTE }),
        api.metricClientError({ period: MINUTE }),
        api.metricServerError({ period: MINUTE }),
      ]),
    ];
  }

  private reads(): IWidget[] {
    const { functions, stores, row } = this.props;
    const readers = row.functions.filter((spec) => does(spec, 'get'));
    const ratio = (layer: string) => {
      const count = (name: string) => `SUM(${this.search(readers, name, 'Sum', 'Layer', `Layer="${layer}"`)})`;
      const expression = `100 * ${count('CacheHits')} / (${count('CacheHits')} + ${count('CacheMisses')})`;
      return new MathExpression({ expression, label: layer, period: MINUTE });
    };
    return [
      ...(row.caches.length > 0 ? [graph('Cache hit ratio, %', row.caches.map(ratio))] : []),
      graph(
        'Concurrent executions',
        functions.all.map(([{ name }, fn]) =>
          labelled(fn.metric('ConcurrentExecutions', { statistic: 'Maximum', period: MINUTE }), name),
        ),
      ),
      graph('Throttled requests', [
        sum(
          functions.all.map(([, fn]) => fn.metricThrottles({ period: MINUTE })),
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
      graph('Backlog and dead letters', [visibleMessages(queue), visibleMessages(deadLetters)]),
      graph('Projection lag, ms', [
        this.ingestMetric('ProjectionLag', 'p50'),
        this.ingestMetric('ProjectionLag', 'p99'),
      ]),
      graph(
        'Commands a minute, by result',
        ['CommandsApplied', 'CommandsRefused', 'CommandsFailed', 'DeliveriesFailed'].map((name) =>
          this.ingestMetric(name, 'Sum'),
        ),
      ),
    ];
  }

  /** Returns the graphs of the quantities that AWS bills. */
  private costs(): IWidget[] {
    const { api, functions, stores, commandQueue, cache } = this.props;
    const units = (metricName: string) =>
      stores.all.map((table) => sum(tableMetrics(stores, table, metricName), table.node.id, HOUR));
    return [
      graph('Requests and invocations an hour', [
        api.api.metricCount({ period: HOUR }),
        ...functions.all.map(([{ name }, fn]) => labelled(fn.metricInvocations({ period: HOUR }), name)),
        ...(commandQueue ? [commandQueue.queue.metricNumberOfMessagesSent({ period: HOUR })] : []),
      ]),
      graph(
        'Duration of invocations an hour, ms',
        functions.all.map(([{ name }, fn]) => labelled(fn.metricDuration({ statistic: 'Sum', period: HOUR }), name)),
      ),
      graph('Write units an hour', units('ConsumedWriteCapacityUnits')),
      graph('Read units an hour', units('ConsumedReadCapacityUnits')),
      ...(cache ? [graph('Redis ECPU an hour', [cacheMetric(cache, 'ElastiCacheProcessingUnits', HOUR)])] : []),
    ];
  }

  /** Returns a metric that the functions write, by route. */
  private byRoute(metricName: string, statistic: string): MathExpression[] {
    return chunks(this.props.row.functions, SEARCHED_MAX).map((functions) => {
      const expression = this.search(functions, metricName, statistic, 'Route');
      return new MathExpression({ expression, label: '', period: MINUTE });
    });
  }

  /** Returns a search for a metric of these functions that has this dimension besides the common ones. */
  private search(
    functions: readonly FunctionSpec[],
    metricName: string,
    statistic: string,
    dimension: string,
    condition = '',
  ): string {
    const names = functions.map(({ name }) => `"${this.props.functions.nameOf(name)}"`).join(' OR ');
    const query =
      `MetricName="${metricName}" Stage="${this.props.row.stage}" Function=(${names}) ${condition}`.trimEnd();
    return `SEARCH('{Watershed,Function,${dimension},Stage} ${query}', '${statistic}', 60)`;
  }
}

function alarmsOfTen(functions: Functions['all'], number: string): Thresholds {
  return {
    [`FunctionErrors${number}`]: {
      metric: sum(
        functions.map(([, fn]) => fn.metricErrors({ period: MINUTE })),
        'Failed invocations',
      ),
      above: 0,
      minutes: 3,
      description:
        "Invocations end without an answer: out of time or memory, or killed. Read the end of the function's log.",
      section: 'Errors and delays',
    },
    [`FunctionThrottles${number}`]: {
      metric: sum(
        functions.map(([, fn]) => fn.metricThrottles({ period: MINUTE })),
        'Throttled invocations',
      ),
      above: 0,
      minutes: 3,
      description: 'Lambda refuses invocations: the account or a function has no environment left. Find out which one.',
      section: 'Errors and delays',
    },
  };
}

function chunks<T>(all: readonly T[], size: number): T[][] {
  const count = Math.ceil(all.length / size);
  return Array.from({ length: count }, (_, index) => all.slice(index * size, (index + 1) * size));
}

function whenTooHigh({ above, minutes, outOf = minutes }: TooHigh) {
  return {
    threshold: above,
    comparisonOperator: ComparisonOperator.GREATER_THAN_THRESHOLD,
    evaluationPeriods: outOf,
    datapointsToAlarm: minutes,
    treatMissingData: TreatMissingData.NOT_BREACHING,
  };
}

function whenOverdue({ fewerThan, hours }: Overdue) {
  return {
    threshold: fewerThan,
    comparisonOperator: ComparisonOperator.LESS_THAN_THRESHOLD,
    evaluationPeriods: hours,
    datapointsToAlarm: hours,
    treatMissingData: TreatMissingData.BREACHING,
  };
}

/** Returns the id of a function's alarm, such as `ReadFnLatency`. */
function idOf(name: string, suffix: string): string {
  return name.replace(/(?:^|-)(\w)/g, (_, letter: string) => letter.toUpperCase()) + suffix;
}

/**
 * Returns the number of failed invocations of the newest version. Only this version counts. So a deployment that fixes a crash is
 * not rolled back for the crashes of the version before.
 *
 * https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-view.html: with the dimension `ExecutedVersion`, metrics are
 * those of a version behind a weighted alias.
 */
function errorsOfVersion(alias: Alias): Metric {
  const errors = alias.metricErrors({ period: MINUTE });
  return errors.with({ dimensionsMap: { ...errors.dimensions, ExecutedVersion: alias.version.version } });
}

function verificationAlarms({ project, deadLetters }: Verification): Thresholds {
  return {
    NotVerified: {
      metric: project.metricSucceededBuilds({ period: HOUR }),
      fewerThan: 1,
      // One night, and two hours for the comparison to end.
      hours: 26,
      description:
        'No comparison of the stores has succeeded for 26 hours. Check if one has run, and read the log of its build.',
      section: 'The nightly comparison',
    },
    VerificationNotStarted: {
      metric: visibleMessages(deadLetters),
      above: 0,
      minutes: 1,
      description:
        'EventBridge Scheduler could not start the nightly comparison. Read the messages in its dead-letter queue.',
      section: 'The nightly comparison',
    },
  };
}

function visibleMessages(queue: IQueue): Metric {
  return queue.metricApproximateNumberOfMessagesVisible({ statistic: 'Maximum', period: MINUTE });
}

/**
 * Returns the percentage of `part` in `all`; 0 if `all` is 0. `MAX([requests, 1])` cannot prevent the division by zero: arrays hold
 * only series, and CloudWatch refuses the number.
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html#metric-math-syntax
 */
function percentage(part: string, all: string, label: string, usingMetrics: Record<string, IMetric>): MathExpression {
  const expression = `IF((${all}) > 0, 100 * ${part} / (${all}), 0)`;
  return new MathExpression({ expression, usingMetrics, label, period: MINUTE });
}

function graph(title: string, left: IMetric[]): GraphWidget {
  return new GraphWidget({ title, left, width: 6, height: 6 });
}

function labelled(metric: Metric, label: string): Metric {
  return metric.with({ label });
}

function cacheMetric(cache: Cache, metricName: string, period: Duration): Metric {
  const dimensionsMap = { clusterId: cache.name };
  return new Metric({ namespace: 'AWS/ElastiCache', metricName, dimensionsMap, statistic: 'Sum', period });
}

/** Returns a metric of a table and of each of its indexes. The table's metric does not include the indexes. */
function tableMetrics(stores: Stores, table: TableV2, metricName: string): Metric[] {
  const indexes = stores.indexesOf(table).map((GlobalSecondaryIndexName) => ({ GlobalSecondaryIndexName }));
  return [{}, ...indexes].map((index) => {
    const dimensionsMap = { TableName: table.tableName, ...index };
    return new Metric({ namespace: 'AWS/DynamoDB', metricName, dimensionsMap, statistic: 'Sum' });
  });
}

function throttles(stores: Stores, table: TableV2, label: string): MathExpression {
  const names = ['ReadThrottleEvents', 'WriteThrottleEvents'];
  return sum(
    names.flatMap((metricName) => tableMetrics(stores, table, metricName)),
    label,
  );
}

/** Returns the sum of metrics. Their ids contain the label, because all metrics of a graph share one namespace. */
function sum(metrics: IMetric[], label: string, period = MINUTE): MathExpression {
  const prefix = label.toLowerCase().replace(/\W/g, '');
  const usingMetrics = Object.fromEntries(metrics.map((metric, index) => [`${prefix}${index}`, metric]));
  return new MathExpression({ expression: `SUM([${Object.keys(usingMetrics)}])`, usingMetrics, label, period });
}
