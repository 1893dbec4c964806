import { Stack, Validations } from 'aws-cdk-lib';
import type { TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import { Effect, PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';
import type { Cache } from './cache';
import type { CommandQueue } from './command-queue';
import type { FunctionSpec } from './service';
import { appliesAtOnce, does, holdsSigningKeys, queues, type Row, usesRedis } from './stages';
import type { Stores } from './stores';

/** What a function may be allowed to use. */
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
 * What a function may do in each of these rows that has it: what its adapters call, on what they call it on, and nothing
 * else. docs/security.md has it as a table for people, to which test/permissions.test.ts holds the policies.
 *
 * BatchGetItem loads states; a transaction needs what its actions would need one by one: PutItem for states, claims,
 * records and views, DeleteItem for claims that are given back.
 */
export function permissions(spec: FunctionSpec, rows: readonly Row[], uses: Uses): PolicyDocument {
  const having = rows.filter(({ functions }) => functions.includes(spec));
  const ofRows = having.flatMap((row) => [
    ...ofCommands(spec, row, uses),
    ...ofReads(spec, row, uses),
    ...ofWrites(spec, row, uses),
    ...ofQueue(spec, row, uses),
  ]);
  const inNetwork = having.some((row) => usesRedis(row, spec)) ? ofCache(uses) : [];
  return new PolicyDocument({ statements: [...ofRows, ...ofPlatform(spec, uses), ...inNetwork], minimize: true });
}

export function allow(actions: string[], ...resources: string[]): PolicyStatement {
  return new PolicyStatement({ effect: Effect.ALLOW, actions, resources });
}

/** The role of a service of AWS that does something for this account, and for no other. */
export function roleFor(scope: Construct, service: string, ...statements: PolicyStatement[]): Role {
  return new Role(scope, 'Role', {
    assumedBy: new ServicePrincipal(service, {
      conditions: { StringEquals: { 'aws:SourceAccount': Stack.of(scope).account } },
    }),
    inlinePolicies: { permissions: new PolicyDocument({ statements }) },
  });
}

function ofCommands(spec: FunctionSpec, row: Row, { stores }: Uses): PolicyStatement[] {
  const statements = [];
  // For a token that stands for a command, for who asks what became of one, for clients that wait for the outcome, and for
  // actions, which are judged after what their session asked before.
  if (does(spec, 'get', 'look-up', 'ingest') || queues(row, spec)) {
    statements.push(allow(['dynamodb:GetItem'], stores.commands.tableArn));
  }
  if (appliesAtOnce(row, spec) || queues(row, spec) || does(spec, 'ingest')) {
    statements.push(allow(['dynamodb:PutItem'], stores.commands.tableArn));
  }
  return statements;
}

function ofReads(spec: FunctionSpec, row: Row, { stores }: Uses): PolicyStatement[] {
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

function ofWrites(spec: FunctionSpec, row: Row, { stores }: Uses): PolicyStatement[] {
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

function ofQueue(spec: FunctionSpec, row: Row, { stores, commandQueue }: Uses): PolicyStatement[] {
  const statements = [];
  if (commandQueue !== undefined && does(spec, 'ingest')) {
    // Lambda takes the messages in the function's name; what comes too early the function itself puts off.
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
    // For clients that wait for the outcome.
    statements.push(allow(['dynamodb:GetItem'], ...arns(stores.views)));
  }
  return statements;
}

function arns(tables: TableV2[]): string[] {
  return tables.map((table) => table.tableArn);
}

function ofPlatform(spec: FunctionSpec, { signingKeysSecret, tracing, logGroupArn }: Uses): PolicyStatement[] {
  const statements = [
    // Log streams are named by Lambda, a new one for each environment.
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

function ofCache({ cache, functionArn }: Uses): PolicyStatement[] {
  return cache === undefined ? [] : [allow(['elasticache:Connect'], ...cache.arns), ...ofNetwork(functionArn)];
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

/**
 * Lambda plugs the function into the network in its name, on interfaces that are not there yet. The code itself may
 * not.
 */
function ofNetwork(functionArn: string): PolicyStatement[] {
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

/** To cdk-nag, which finds fault with every wildcard. */
export function acknowledgeLogStreams(role: Role, logGroupName: string): void {
  const streams = `arn:<AWS::Partition>:logs:<AWS::Region>:<AWS::AccountId>:log-group:${logGroupName}:*`;
  Validations.of(role).acknowledge({
    id: `AwsSolutions::AwsSolutions-IAM5[Resource::${streams}]`,
    reason: 'Log streams are named by the service that writes them, a new one for each environment or build.',
  });
}
