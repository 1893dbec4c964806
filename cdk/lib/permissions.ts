import { Stack, Validations } from 'aws-cdk-lib';
import type { TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import { Effect, PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';
import type { Cache } from './cache';
import type { CommandQueue } from './command-queue';
import type { FunctionSpec } from './service';
import { appliesAtOnce, does, holdsSigningKeys, queues, type StageConfig, usesRedis } from './stages';
import type { Stores } from './stores';

/** The resources that a function may use. */
export interface Uses {
  readonly stores: Stores;
  readonly commandQueue: CommandQueue | undefined;
  readonly cache: Cache | undefined;
  readonly signingKeysSecret: string;
  readonly tracing: boolean;
  readonly logGroupArn: string;
  readonly functionArn: string;
}

/**
 * Returns the permissions of a function in the stages that have it. They are the calls of its adapters, each on the called
 * resources only. docs/security.md lists them in tables. test/permissions.test.ts compares the policies with the tables.
 *
 * BatchGetItem loads states. A transaction needs the permissions of its single actions: PutItem for states, unique keys, records
 * and views, and DeleteItem for released unique keys.
 */
export function permissions(spec: FunctionSpec, rows: readonly StageConfig[], uses: Uses): PolicyDocument {
  const stages = rows.filter(({ functions }) => functions.includes(spec));
  const ofStages = stages.flatMap((row) => [
    ...recordStatements(spec, row, uses),
    ...readStatements(spec, row, uses),
    ...writeStatements(spec, row, uses),
    ...queueStatements(spec, row, uses),
  ]);
  const inNetwork = stages.some((row) => usesRedis(row, spec)) ? cacheStatements(uses) : [];
  const statements = [...ofStages, ...platformStatements(spec, uses), ...inNetwork];
  return new PolicyDocument({ statements, minimize: true });
}

export function allow(actions: string[], ...resources: string[]): PolicyStatement {
  return new PolicyStatement({ effect: Effect.ALLOW, actions, resources });
}

/** Returns a role that an AWS service can assume for this account only. */
export function roleFor(scope: Construct, service: string, ...statements: PolicyStatement[]): Role {
  return new Role(scope, 'Role', {
    assumedBy: new ServicePrincipal(service, {
      conditions: { StringEquals: { 'aws:SourceAccount': Stack.of(scope).account } },
    }),
    inlinePolicies: { permissions: new PolicyDocument({ statements }) },
  });
}

function recordStatements(spec: FunctionSpec, row: StageConfig, { stores }: Uses): PolicyStatement[] {
  const statements = [];
  // The function reads records for tokens that name a command, for status requests, and for clients that wait for an outcome. It
  // also reads them for actions, which are judged after the earlier commands of their session.
  if (does(spec, 'get', 'look-up', 'ingest') || queues(row, spec)) {
    statements.push(allow(['dynamodb:GetItem'], stores.commands.tableArn));
  }
  if (appliesAtOnce(row, spec) || queues(row, spec) || does(spec, 'ingest')) {
    statements.push(allow(['dynamodb:PutItem'], stores.commands.tableArn));
  }
  return statements;
}

function readStatements(spec: FunctionSpec, row: StageConfig, { stores }: Uses): PolicyStatement[] {
  const tables = row.reads_from === 'read-store' ? stores.views : [stores.write];
  const statements = [];
  if (does(spec, 'get')) {
    statements.push(allow(['dynamodb:GetItem'], ...arns(tables)));
  }
  if (does(spec, 'list')) {
    const indexes = tables.flatMap((table) =>
      stores.indexesOf(table).map((index) => `${table.tableArn}/index/${index}`),
    );
    statements.push(allow(['dynamodb:Query'], ...indexes));
  }
  return statements;
}

function writeStatements(spec: FunctionSpec, row: StageConfig, { stores }: Uses): PolicyStatement[] {
  if (!appliesAtOnce(row, spec) && !does(spec, 'ingest')) {
    return [];
  }
  const statements = [allow(['dynamodb:BatchGetItem', 'dynamodb:PutItem'], stores.write.tableArn)];
  if (does(spec, 'change', 'delete', 'ingest')) {
    statements.push(allow(['dynamodb:DeleteItem'], stores.write.tableArn));
  }
  if (row.writes_read_store) {
    statements.push(allow(['dynamodb:PutItem'], ...arns(stores.views)));
  }
  return statements;
}

function queueStatements(spec: FunctionSpec, row: StageConfig, { stores, commandQueue }: Uses): PolicyStatement[] {
  const statements = [];
  if (commandQueue !== undefined && does(spec, 'ingest')) {
    // Lambda polls the queue with the function's role. The function itself defers early messages.
    const actions = [
      'sqs:ReceiveMessage',
      'sqs:DeleteMessage',
      'sqs:GetQueueAttributes',
      'sqs:ChangeMessageVisibility',
    ];
    statements.push(allow(actions, commandQueue.queue.queueArn));
  }
  if (commandQueue !== undefined && queues(row, spec)) {
    statements.push(allow(['sqs:SendMessage'], commandQueue.queue.queueArn));
    // Clients may wait for the outcome and its view.
    statements.push(allow(['dynamodb:GetItem'], ...arns(stores.views)));
  }
  return statements;
}

function arns(tables: TableV2[]): string[] {
  return tables.map((table) => table.tableArn);
}

function platformStatements(spec: FunctionSpec, { signingKeysSecret, tracing, logGroupArn }: Uses): PolicyStatement[] {
  const statements = [
    // Lambda names the log streams, a new one for each environment.
    allow(['logs:CreateLogStream', 'logs:PutLogEvents'], `${logGroupArn}:*`),
  ];
  if (tracing) {
    // X-Ray has no resources.
    statements.push(allow(['xray:PutTraceSegments', 'xray:PutTelemetryRecords'], '*'));
  }
  if (holdsSigningKeys(spec)) {
    statements.push(allow(['secretsmanager:GetSecretValue'], signingKeysSecret));
  }
  return statements;
}

function cacheStatements({ cache, functionArn }: Uses): PolicyStatement[] {
  return cache === undefined ? [] : [allow(['elasticache:Connect'], ...cache.arns), ...networkStatements(functionArn)];
}

/** https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html */
const NETWORK_INTERFACES = [
  'ec2:AssignPrivateIpAddresses',
  'ec2:CreateNetworkInterface',
  'ec2:DeleteNetworkInterface',
  'ec2:DescribeNetworkInterfaces',
  'ec2:DescribeSubnets',
  'ec2:UnassignPrivateIpAddresses',
];

/** Lambda uses the function's role to create its network interfaces, which have no names yet. The function's own code must not. */
function networkStatements(functionArn: string): PolicyStatement[] {
  return [
    allow(NETWORK_INTERFACES, '*'),
    new PolicyStatement({
      effect: Effect.DENY,
      actions: NETWORK_INTERFACES,
      resources: ['*'],
      conditions: { ArnLike: { 'lambda:SourceFunctionArn': [functionArn, `${functionArn}:*`] } },
    }),
  ];
}

/** Acknowledges the wildcard of log streams. cdk-nag reports every wildcard. */
export function acknowledgeLogStreams(role: Role, logGroupName: string): void {
  const streams = `arn:<AWS::Partition>:logs:<AWS::Region>:<AWS::AccountId>:log-group:${logGroupName}:*`;
  Validations.of(role).acknowledge({
    id: `AwsSolutions::AwsSolutions-IAM5[Resource::${streams}]`,
    reason: 'The service that writes the log names its streams, a new one for each environment or build.',
  });
}
