import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Template } from 'aws-cdk-lib/assertions';
import { aggregatesSeries, all, evaluate, type Expression, parse, type Series, type Type, typeOf } from './metric-math';
import { resolve } from './policies';
import { prod, properties, STAGES, template } from './support';

/** Every stage with the base `prod`, and configurations with more or fewer alarms. */
const TEMPLATES = new Map<string, Template>([
  ...STAGES.map(({ stage }): [string, Template] => [stage, prod(stage)]),
  ['cqrs with all options', template('cqrs', { domainEvents: true, otherProjection: 2, tracing: true })],
  ['cqrs in dev', template('cqrs', { base: 'dev' })],
]);

const alarmsOf = (from: Template) => properties(from, 'AWS::CloudWatch::Alarm');
const alarmName = (logicalId: string) => logicalId.replace(/^Monitoring(\w+)[0-9A-F]{8}$/, '$1');

// Metric math

const SERIES = new Map<string, Type>([
  ['a', 'TS'],
  ['b', 'TS'],
]);

test('the parser refuses metric math that CloudWatch refuses', () => {
  const refused = [
    'MAX([a, 1])',
    'SUM([a, 2.5])',
    '100 * a / MAX([b, 1])',
    'IF(a > 0, MAX([a, 1]), 0)',
    'SUM([a, AVG(b)])',
    'SUM([a, [b, -1]])',
    'a + c',
    'MAX([A, b])',
    'max([a, b])',
    'IF([a, b], a, b)',
    'IF(1 > 0, 2, 3)',
    "SUM('a')",
    'SUM([a, b)',
    'a b',
    'a +',
    '(a, b)',
    'a ? b',
  ];
  for (const text of refused) {
    assert.throws(() => typeOf(parse(text), SERIES), `${text} was accepted`);
  }
});

test('the parser accepts metric math that CloudWatch accepts, and does not parse texts as expressions', () => {
  const search = `SEARCH('{Watershed,Function,Stage} MetricName="[a, 1]" Function=("x" OR "y")', 'Sum', 60)`;
  const types: [string, Type][] = [
    ['SUM([a, b])', 'TS'],
    ['SUM(a)', 'S'],
    ['a / SUM(a)', 'TS'],
    ['[a, b] * 2', 'TS[]'],
    ['IF(a > 0 AND b >= 1, 100 * a / (a + b), 0)', 'TS'],
    [search, 'TS[]'],
    [`100 * SUM(${search}) / (SUM(${search}) + a)`, 'TS'],
  ];
  for (const [text, type] of types) {
    assert.equal(typeOf(parse(text), SERIES), type, text);
  }
});

test('metric math is evaluated as CloudWatch documents it', () => {
  const ids = new Map<string, Series>([
    ['a', [10, 0, undefined, 5, undefined]],
    ['b', [1, 2, 3, undefined, undefined]],
  ]);
  const values = (text: string) => evaluate(parse(text), ids, 5);
  assert.deepEqual(values('SUM([a, b])'), [11, 2, 3, 5, undefined]);
  assert.deepEqual(values('b / a'), [0.1, undefined, undefined, 0, undefined]);
  assert.deepEqual(values('IF(a > 0, 100 * b / a, 0)'), [10, 0, undefined, 0, undefined]);
  assert.deepEqual(values('IF((a + b) > 4, 1 + 1, 0)'), [2, 0, 0, 2, undefined]);
});

/**
 * The valid ids: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDataQuery.html and
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html.
 */
const ID = /^[a-z]\w{0,254}$/;

/** A metric or an expression of an alarm or of a dashboard's widget. */
interface Query {
  readonly id: string;
  readonly expression: Expression | undefined;
  readonly isShown: boolean;
}

function queryOf(id: string, expression: string | undefined, isShown: boolean): Query {
  return { id, expression: expression === undefined ? undefined : parse(expression), isShown };
}

/** Returns the types of all ids, in any order of definition. Throws if an id is defined twice, or if an expression is wrong. */
function typesOf(queries: Query[]): Map<string, Type> {
  for (const { id } of queries) {
    assert.match(id, ID);
    assert.equal(queries.filter((query) => query.id === id).length, 1, `two queries have the id ${id}`);
  }
  const types = new Map<string, Type>();
  let remaining = queries;
  while (remaining.length > 0) {
    const waiting = remaining.map(({ id }) => id);
    const ready = remaining.filter(({ expression }) => !usesAny(expression, waiting));
    assert.ok(ready.length > 0, 'expressions refer to each other in a circle');
    for (const { id, expression } of ready) {
      types.set(id, expression === undefined ? 'TS' : typeOf(expression, types));
    }
    remaining = remaining.filter((query) => !ready.includes(query));
  }
  return types;
}

function usesAny(expression: Expression | undefined, ids: string[]): boolean {
  return expression !== undefined && all(expression).some((part) => part.kind === 'id' && ids.includes(part.name));
}

function queriesOf(alarm: any): Query[] {
  return (alarm.Metrics ?? []).map(({ Id, Expression, ReturnData = true }: any) => queryOf(Id, Expression, ReturnData));
}

/**
 * Checks an alarm. The limits are those of
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html.
 * An alarm has one series and no SEARCH. It has no function that makes a scalar of all data points, because an alarm retrieves
 * more points than it evaluates: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html.
 */
function checkAlarm(alarm: any): void {
  const queries = queriesOf(alarm);
  const types = typesOf(queries);
  const stats = (alarm.Metrics ?? []).flatMap(({ MetricStat }: any) => MetricStat ?? []);
  const periods: number[] = alarm.Metrics ? stats.map(({ Period }: any) => Period) : [alarm.Period];
  assert.equal(new Set(periods).size, 1, 'the metrics of an alarm have one period');
  const seconds = periods[0]! * alarm.EvaluationPeriods;
  assert.ok(seconds <= (periods[0]! < 3_600 ? 86_400 : 604_800), `${seconds} s are too long`);
  assert.ok(alarm.DatapointsToAlarm <= alarm.EvaluationPeriods);
  if (alarm.Metrics === undefined) {
    return;
  }
  assert.ok(stats.length <= 10 && queries.length - stats.length <= 10, 'ten metrics and ten expressions at most');
  const shown = queries.filter(({ isShown }) => isShown);
  assert.equal(shown.length, 1, 'an alarm watches exactly one result');
  assert.equal(types.get(shown[0]!.id), 'TS', 'an alarm watches a single series');
  for (const { expression } of queries) {
    if (expression !== undefined) {
      const isSearch = (part: Expression) => part.kind === 'call' && part.name === 'SEARCH';
      assert.ok(!all(expression).some(isSearch), 'SEARCH is for dashboards');
      assert.ok(!aggregatesSeries(expression, types), 'an alarm aggregates no series');
    }
  }
}

test('CloudWatch accepts the metric math and the periods of every alarm', () => {
  for (const [name, from] of TEMPLATES) {
    for (const [id, alarm] of alarmsOf(from)) {
      assert.doesNotThrow(() => checkAlarm(alarm), `${id} at ${name}`);
    }
  }
});

test('the check of alarms finds each fault that CloudWatch would refuse', () => {
  const [, alarm] = alarmsOf(prod('cqrs')).find(([id]) => alarmName(id) === 'ServerErrors')!;
  const refused = (change: (alarm: any) => void, message: RegExp) => {
    const changed = structuredClone(alarm);
    change(changed);
    assert.throws(() => checkAlarm(changed), message);
  };
  const withExpression = (text: string) => (alarm: any) => {
    alarm.Metrics.find(({ Expression }: any) => Expression !== undefined).Expression = text;
  };
  refused(withExpression('100 * errors / MAX([requests, 1])'), /an array holds time series/);
  refused(withExpression('errors / request'), /no metric has the id request/);
  refused(withExpression("SEARCH('{AWS/Lambda} Errors', 'Sum', 60)"), /single series/);
  refused(withExpression("SUM(SEARCH('{AWS/Lambda} Errors', 'Sum', 60))"), /SEARCH is for dashboards/);
  refused(withExpression('[errors, requests]'), /single series/);
  refused(withExpression('errors / SUM(requests)'), /aggregates no series/);
  refused((alarm) => (alarm.Metrics[1].Id = 'Errors'), /Errors/);
  refused((alarm) => (alarm.Metrics[1].ReturnData = true), /exactly one result/);
  refused((alarm) => (alarm.Metrics[1].MetricStat.Period = 300), /one period/);
  refused((alarm) => (alarm.EvaluationPeriods = 1_441), /too long/);
  refused((alarm) => {
    const more = Array.from({ length: 9 }, (_, index) => ({ ...alarm.Metrics[1], Id: `m${index}` }));
    alarm.Metrics.push(...more);
  }, /ten metrics/);
});

/**
 * Returns the metrics of all widgets:
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
 */
function metricsOfWidgets(from: Template): any[][][] {
  return properties(from, 'AWS::CloudWatch::Dashboard').flatMap(([, { DashboardBody }]) =>
    JSON.parse(resolve(DashboardBody)).widgets.map(({ properties }: any) => properties.metrics),
  );
}

test('CloudWatch accepts the metric math of every dashboard', () => {
  for (const [name, from] of TEMPLATES) {
    const widgets = metricsOfWidgets(from);
    assert.ok(widgets.length >= 10, name);
    for (const metrics of widgets) {
      const queries = metrics.map((parts, index): Query => {
        const { id = `unnamed${index}`, expression, visible = true } = parts.at(-1);
        return queryOf(id, expression, visible);
      });
      const types = typesOf(queries);
      for (const { id } of queries.filter(({ isShown }) => isShown)) {
        assert.notEqual(types.get(id), 'S', `${id} at ${name}`);
      }
      assert.ok(queries.length <= 500, name);
    }
  }
});

test('CloudWatch accepts every search, even with the longest name of a deployment', () => {
  for (const { stage } of STAGES) {
    const widgets = metricsOfWidgets(template(stage, { name: 'a'.repeat(25) }));
    for (const metrics of widgets) {
      const expressions: string[] = metrics.map((parts) => parts.at(-1).expression ?? '');
      const searches = expressions.flatMap((text) => [...text.matchAll(/SEARCH\('([^']*)'/g)]);
      // https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/search-expression-syntax.html
      assert.ok(searches.length <= 100, stage);
      for (const [, query] of searches) {
        assert.ok(query!.length <= 1_024, `${query!.length} characters at ${stage}`);
      }
    }
  }
});

// The functions' own metrics

/** Returns the sets of dimensions with which shared/src/metrics/emf.rs writes each metric, sorted. */
function writtenDimensions(): Map<string, string[]> {
  const source = readFileSync('../shared/src/metrics/emf.rs', 'utf8');
  const directives = source.matchAll(/dimensions: &\[((?:&\[[^\]]*\](?:, )?)+)\],\s*metrics: &\[([^\]]*)\]/g);
  const sets = new Map<string, string[]>();
  for (const [, dimensions, metrics] of directives) {
    const names = [...dimensions!.matchAll(/&\[([^\]]*)\]/g)].map(([, set]) => sorted(set!.match(/\w+/g)!));
    for (const [, metric] of metrics!.matchAll(/\w+\("(\w+)"\)/g)) {
      sets.set(metric!, names);
    }
  }
  return sets;
}

const sorted = (dimensions: string[]) => [...dimensions].sort().join();

/** Returns the metrics of an alarm, each with name and dimensions. */
function watchedMetrics(alarm: any): any[] {
  const stats = (alarm.Metrics ?? []).flatMap(({ MetricStat }: any) => MetricStat?.Metric ?? []);
  return alarm.Metrics ? stats : [alarm];
}

test('the functions write each of our metrics with the dimensions that alarms ask for', () => {
  const sets = writtenDimensions();
  assert.ok(sets.size >= 9, [...sets.keys()].join());
  let found = 0;
  for (const { stage, functions } of STAGES) {
    for (const [id, alarm] of alarmsOf(prod(stage))) {
      for (const { Namespace, MetricName, Dimensions } of watchedMetrics(alarm)) {
        if (Namespace === 'Watershed') {
          const values = new Map<string, string>(Dimensions.map(({ Name, Value }: any) => [Name, Value]));
          assert.ok(sets.get(MetricName)?.includes(sorted([...values.keys()])), `${id} at ${stage}`);
          assert.equal(values.get('Stage'), stage);
          assert.ok(
            functions.some(({ name }) => `watershed-${name}` === values.get('Function')),
            `${id} at ${stage}`,
          );
          found += 1;
        }
      }
    }
  }
  assert.ok(found > 50, `${found} found`);
});

test('the functions write each of our metrics with the dimensions that dashboards ask for', () => {
  const sets = writtenDimensions();
  for (const { stage } of STAGES) {
    for (const parts of metricsOfWidgets(prod(stage)).flat()) {
      const { expression = '' } = parts.at(-1);
      for (const [, schema, metric] of expression.matchAll(/SEARCH\('\{Watershed,([^}]*)\} MetricName="(\w+)"/g)) {
        assert.ok(sets.get(metric)?.includes(sorted(schema.split(','))), `${metric} by ${schema}`);
      }
      if (parts[0] === 'Watershed') {
        const names = parts.slice(2, -1).filter((_, index) => index % 2 === 0);
        assert.ok(sets.get(parts[1])?.includes(sorted(names)), `${parts[1]} by ${names}`);
      }
    }
  }
});

// Rollback alarms

/** The metrics by identity, with a value for each period. */
type Measured = Record<string, Series>;

const identityOf = ({ Namespace, MetricName, Dimensions }: any) => {
  const dimensions = Dimensions.map(({ Name, Value }: any) => `${Name}=${resolve(Value)}`);
  return `${Namespace} ${MetricName} ${dimensions.sort().join()}`;
};

/**
 * Returns whether an alarm goes off in one of these periods. The alarm's setting decides how missing data counts:
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
 */
function goesOff(alarm: any, measured: Measured, periods: number): boolean {
  const breaches = valuesOf(alarm, measured, periods).map((value) => {
    if (value === undefined) {
      return alarm.TreatMissingData === 'breaching';
    }
    return alarm.ComparisonOperator === 'LessThanThreshold' ? value < alarm.Threshold : value > alarm.Threshold;
  });
  return breaches.some((_, last) => {
    const evaluated = breaches.slice(Math.max(0, last + 1 - alarm.EvaluationPeriods), last + 1);
    return evaluated.filter(Boolean).length >= alarm.DatapointsToAlarm;
  });
}

function valuesOf(alarm: any, measured: Measured, periods: number): Series {
  const none = Array<undefined>(periods).fill(undefined);
  if (alarm.Metrics === undefined) {
    return measured[identityOf(alarm)] ?? none;
  }
  const metrics = alarm.Metrics.filter(({ MetricStat }: any) => MetricStat !== undefined);
  const ids = new Map<string, Series>(
    metrics.map(({ Id, MetricStat }: any) => [Id, measured[identityOf(MetricStat.Metric)] ?? none]),
  );
  return evaluate(parse(alarm.Metrics.find(({ ReturnData }: any) => ReturnData).Expression), ids, periods);
}

/** The duration of a canary, in minutes. A tenth of each function's traffic goes to its new version. */
const CANARY = 10;
const each = (value: number): Series => Array(CANARY).fill(value);

const ourMetric = (metric: string, name: string) => `Watershed ${metric} Function=watershed-${name},Stage=cqrs`;

function frontDoor(metric: string): string {
  const [[id]] = properties(prod('cqrs'), 'AWS::ApiGatewayV2::Api') as [[string, any]];
  return `AWS/ApiGateway ${metric} ApiId=<${id}>`;
}

/** Returns the metric of failed invocations of a function's new version. */
function crashes(name: string, version = newVersionOf(name)): string {
  const [id] = properties(prod('cqrs'), 'AWS::Lambda::Function').find(
    ([, { FunctionName }]) => FunctionName === `watershed-${name}`,
  )!;
  return `AWS/Lambda Errors ExecutedVersion=${version},FunctionName=<${id}>,Resource=<${id}>:live`;
}

function newVersionOf(name: string): string {
  const [id] = Object.keys(prod('cqrs').findResources('AWS::Lambda::Version')).filter((id) =>
    id.includes(name.replace('-', '')),
  );
  return `<${id}.Version>`;
}

/** The metrics of a healthy service with 100 requests per second, one in ten a write. */
const HEALTHY: Measured = {
  [frontDoor('Count')]: each(6_000),
  [frontDoor('5xx')]: each(0),
  [frontDoor('Latency')]: each(80),
  [ourMetric('Requests', 'read-fn')]: each(5_400),
  [ourMetric('Errors', 'read-fn')]: each(0),
  [ourMetric('Latency', 'read-fn')]: each(30),
  [ourMetric('Requests', 'write-fn')]: each(600),
  [ourMetric('Errors', 'write-fn')]: each(0),
  [ourMetric('Latency', 'write-fn')]: each(60),
  [ourMetric('CommandsApplied', 'ingest-fn')]: each(590),
  [ourMetric('CommandsRefused', 'ingest-fn')]: each(10),
  [ourMetric('CommandsFailed', 'ingest-fn')]: each(0),
  [ourMetric('DeliveriesFailed', 'ingest-fn')]: each(0),
  [ourMetric('ProjectionLag', 'ingest-fn')]: each(250),
};

/** The faults of new code. Each has the faulty function, the alarm that must detect it, and the metrics of the canary. */
const FAULTS: [fault: string, name: string, alarm: string, measured: Measured][] = [
  ['read-fn answers 500', 'read-fn', 'ReadFnServerErrors', { [ourMetric('Errors', 'read-fn')]: each(540) }],
  [
    'write-fn answers 503, which is one in a hundred answers of the front door',
    'write-fn',
    'WriteFnServerErrors',
    { [ourMetric('Errors', 'write-fn')]: each(60), [frontDoor('5xx')]: each(60) },
  ],
  ['read-fn is slow', 'read-fn', 'ReadFnLatency', { [ourMetric('Latency', 'read-fn')]: each(5_000) }],
  ['write-fn is slow', 'write-fn', 'WriteFnLatency', { [ourMetric('Latency', 'write-fn')]: each(5_000) }],
  ['read-fn runs out of memory', 'read-fn', 'ReadFnInvocationErrors', { [crashes('read-fn')]: each(540) }],
  [
    'write-fn does not start, and gets requests in three of ten minutes',
    'write-fn',
    'WriteFnInvocationErrors',
    { [crashes('write-fn')]: [1, undefined, undefined, undefined, 1, undefined, undefined, undefined, 1, undefined] },
  ],
  ['ingest-fn runs out of time', 'ingest-fn', 'IngestFnInvocationErrors', { [crashes('ingest-fn')]: each(6) }],
  [
    'ingest-fn cannot store commands, and old code applies them at the next delivery',
    'ingest-fn',
    'DeliveriesFailed',
    { [ourMetric('DeliveriesFailed', 'ingest-fn')]: each(60) },
  ],
  [
    'write-fn queues commands that ingest-fn cannot read',
    'write-fn',
    'DeliveriesFailed',
    { [ourMetric('DeliveriesFailed', 'ingest-fn')]: each(60) },
  ],
  [
    'ingest-fn fails a command for good at its first delivery',
    'ingest-fn',
    'CommandsFailed',
    { [ourMetric('CommandsFailed', 'ingest-fn')]: [undefined, undefined, 1] },
  ],
  [
    'ingest-fn projects late',
    'ingest-fn',
    'ProjectionLag',
    { [ourMetric('ProjectionLag', 'ingest-fn')]: each(60_000) },
  ],
  [
    'read-fn makes answers that the front door cannot read',
    'read-fn',
    'ServerErrors',
    { [frontDoor('5xx')]: each(540) },
  ],
  ['ingest-fn stores views that read-fn cannot read', 'ingest-fn', 'ServerErrors', { [frontDoor('5xx')]: each(300) }],
];

/** Returns the rollback alarms of a function, by name. */
function rollbackAlarms(stage: string, name: string): Map<string, any> {
  const group = groupOf(stage, name);
  const all = new Map(alarmsOf(prod(stage)));
  const ids: string[] = group.AlarmConfiguration.Alarms.map(({ Name }: any) => Name.Ref);
  return new Map(ids.map((id) => [alarmName(id), all.get(id)]));
}

function groupOf(stage: string, name: string): any {
  const groups = properties(prod(stage), 'AWS::CodeDeploy::DeploymentGroup');
  return groups.find(([id]) => id.startsWith(`Rollout${name.replaceAll('-', '')}`))![1];
}

for (const [fault, name, expected, measured] of FAULTS) {
  test(`new code is rolled back if ${fault}`, () => {
    const alarms = rollbackAlarms('cqrs', name);
    const off = [...alarms].filter(([, alarm]) => goesOff(alarm, { ...HEALTHY, ...measured }, CANARY));
    assert.ok(
      off.some(([id]) => id === expected),
      `off: ${off.map(([id]) => id)}, of ${[...alarms.keys()]}`,
    );
  });
}

test('healthy code is not rolled back', () => {
  for (const name of ['read-fn', 'write-fn', 'ingest-fn']) {
    for (const [id, alarm] of rollbackAlarms('cqrs', name)) {
      assert.equal(goesOff(alarm, HEALTHY, CANARY), false, id);
      assert.equal(goesOff(alarm, {}, CANARY), false, `${id} without data`);
    }
  }
});

test("the front door's alarm alone does not detect that new code of write-fn fails", () => {
  const alarm = rollbackAlarms('cqrs', 'write-fn').get('ServerErrors');
  assert.equal(goesOff(alarm, { ...HEALTHY, [frontDoor('5xx')]: each(60) }, CANARY), false);
});

test('code that fixes a crash is not rolled back for the crashes of the version before', () => {
  for (const name of ['read-fn', 'write-fn', 'ingest-fn']) {
    for (const [id, alarm] of rollbackAlarms('cqrs', name)) {
      assert.equal(goesOff(alarm, { ...HEALTHY, [crashes(name, '41')]: each(100) }, CANARY), false, id);
    }
  }
});

test('each rollback alarm detects one of the faults', () => {
  const known = new Set(FAULTS.map(([, , alarm]) => alarm));
  for (const name of ['read-fn', 'write-fn', 'ingest-fn']) {
    assert.deepEqual(
      [...rollbackAlarms('cqrs', name).keys()].filter((id) => !known.has(id)),
      [],
      name,
    );
  }
});

test('a function has the rollback alarms of itself, of its commands and of the front door, ten at most', () => {
  for (const { stage, functions, queue_deployed, writes_answer } of STAGES) {
    for (const { name } of functions) {
      const ids = [...rollbackAlarms(stage, name).keys()];
      const prefix = name.replace(/(?:^|-)(\w)/g, (_, letter) => letter.toUpperCase());
      const own = name === 'ingest-fn' ? ['InvocationErrors'] : ['ServerErrors', 'Latency', 'InvocationErrors'];
      const sends = name === 'write-fn' && writes_answer !== 'result';
      const ofCommands = (sends && queue_deployed) || name === 'ingest-fn';
      const wanted = [
        ...own.map((what) => `${prefix}${what}`),
        ...(ofCommands ? ['DeliveriesFailed', 'CommandsFailed', 'ProjectionLag'] : []),
        'ServerErrors',
      ];
      assert.deepEqual(ids, wanted, `${name} at ${stage}`);
      assert.ok(ids.length <= 10, `${name} at ${stage}`);
    }
  }
});

test('the rollback alarms exist before an alias moves to a new version', () => {
  for (const { stage } of STAGES) {
    for (const [id, alias] of Object.entries<any>(prod(stage).findResources('AWS::Lambda::Alias'))) {
      const { DeploymentGroupName } = alias.UpdatePolicy.CodeDeployLambdaAliasUpdate;
      assert.ok(alias.DependsOn.includes(DeploymentGroupName.Ref), id);
    }
  }
});

// The nightly comparison

test('an alarm goes off if no comparison of the stores has succeeded for 26 hours, even if none has started', () => {
  const [, alarm] = alarmsOf(prod('cqrs')).find(([id]) => alarmName(id) === 'NotVerified')!;
  assert.deepEqual([alarm.Namespace, alarm.MetricName, alarm.Period], ['AWS/CodeBuild', 'SucceededBuilds', 3_600]);
  const successes = (...hours: number[]) => ({
    [identityOf(alarm)]: Array.from({ length: 72 }, (_, hour) => (hours.includes(hour) ? 1 : undefined)),
  });
  assert.equal(goesOff(alarm, successes(3, 27, 51), 72), false, 'every night');
  assert.equal(goesOff(alarm, successes(3, 28, 51), 72), false, 'a night that took an hour longer');
  assert.equal(goesOff(alarm, successes(3, 51), 72), true, 'one night without');
  assert.equal(goesOff(alarm, {}, 72), true, 'never');
});

test('if the schedule cannot start a comparison, a queue keeps the message, and an alarm goes off', () => {
  const from = prod('cqrs');
  const [[, { Target }]] = properties(from, 'AWS::Scheduler::Schedule') as [[string, any]];
  const [id] = Target.DeadLetterConfig.Arn['Fn::GetAtt'];
  const queue = from.findResources('AWS::SQS::Queue')[id]!['Properties'];
  assert.deepEqual([queue.SqsManagedSseEnabled, queue.MessageRetentionPeriod], [true, 14 * 24 * 3_600]);
  const policies = properties(from, 'AWS::SQS::QueuePolicy').filter(([, { Queues }]) => Queues[0].Ref === id);
  const [denied] = policies[0]![1].PolicyDocument.Statement;
  assert.deepEqual([denied.Effect, denied.Condition], ['Deny', { Bool: { 'aws:SecureTransport': 'false' } }]);
  const [, alarm] = alarmsOf(from).find(([id]) => alarmName(id) === 'VerificationNotStarted')!;
  assert.equal(
    goesOff(alarm, { [`AWS/SQS ApproximateNumberOfMessagesVisible QueueName=<${id}.QueueName>`]: [1] }, 1),
    true,
  );
});

// The cost of alarms

test('`watershed cost` counts every metric that an alarm watches', () => {
  const document = readFileSync('../docs/cost.md', 'utf8');
  for (const stage of ['cqrs', 'lambda-lith']) {
    const count = alarmsOf(prod(stage)).reduce((sum, [, alarm]) => sum + watchedMetrics(alarm).length, 0);
    const shown = new RegExp(`^${stage} on .*, \\$ a month .*\\nalarms +(\\d+\\.\\d+)`, 'm').exec(document);
    // An alarm costs $0.10 a month for each metric: tools/cost/src/prices.rs.
    assert.equal(shown?.[1], (count / 10).toFixed(2), stage);
  }
});
