import { readFileSync } from 'node:fs';
import type { Template } from 'aws-cdk-lib/assertions';
import { type FunctionName, type Row, usesRedis } from '../lib/stages';
import { isAllowed, type Statement, statementsOf } from './policies';
import { config, functionOf, properties } from './support';

const DOCUMENT = '../docs/security.md';

/** Whatever a function could be allowed by mistake, and more. */
export const ACTIONS = Object.entries({
  dynamodb: `BatchGetItem BatchWriteItem ConditionCheckItem CreateBackup CreateTable DeleteBackup DeleteItem DeleteResourcePolicy
    DeleteTable DescribeStream DescribeTable DescribeTimeToLive EnableKinesisStreamingDestination ExportTableToPointInTime GetItem
    GetRecords GetResourcePolicy GetShardIterator ImportTable ListStreams ListTables PartiQLDelete PartiQLInsert PartiQLSelect
    PartiQLUpdate PutItem PutResourcePolicy Query RestoreTableFromBackup RestoreTableToPointInTime Scan TagResource
    UpdateContinuousBackups UpdateItem UpdateTable UpdateTimeToLive`,
  sqs: `AddPermission ChangeMessageVisibility CreateQueue DeleteMessage DeleteQueue GetQueueAttributes GetQueueUrl
    ListDeadLetterSourceQueues ListQueues PurgeQueue ReceiveMessage RemovePermission SendMessage SetQueueAttributes
    StartMessageMoveTask CancelMessageMoveTask ListMessageMoveTasks TagQueue`,
  secretsmanager: `CancelRotateSecret CreateSecret DeleteSecret DescribeSecret GetResourcePolicy GetSecretValue ListSecrets
    PutResourcePolicy PutSecretValue RestoreSecret RotateSecret UpdateSecret UpdateSecretVersionStage BatchGetSecretValue`,
  elasticache: `Connect CreateServerlessCache DeleteServerlessCache DescribeServerlessCaches DescribeUsers ModifyServerlessCache
    ModifyUser ModifyUserGroup CreateUser DeleteUser ExportServerlessCacheSnapshot`,
  logs: `CreateLogGroup CreateLogStream DeleteLogGroup DeleteLogStream DescribeLogGroups DescribeLogStreams FilterLogEvents
    GetLogEvents PutLogEvents PutRetentionPolicy PutSubscriptionFilter StartQuery`,
  xray: 'GetTraceSummaries BatchGetTraces PutTelemetryRecords PutTraceSegments GetSamplingRules',
  ec2: `AssignPrivateIpAddresses AttachNetworkInterface AuthorizeSecurityGroupEgress CreateNetworkInterface CreateRoute
    DeleteNetworkInterface DescribeInstances DescribeNetworkInterfaces DescribeSubnets DescribeVpcs ModifyNetworkInterfaceAttribute
    RunInstances UnassignPrivateIpAddresses`,
  lambda:
    'InvokeFunction InvokeAsync UpdateFunctionCode UpdateFunctionConfiguration GetFunction AddPermission DeleteFunction',
  iam: 'PassRole CreateRole PutRolePolicy AttachRolePolicy CreateUser CreateAccessKey GetRole',
  kms: 'Decrypt Encrypt GenerateDataKey CreateGrant',
  s3: 'GetObject PutObject ListBucket DeleteObject',
  sns: 'Publish Subscribe',
  events: 'PutEvents PutRule',
  ssm: 'GetParameter GetParameters PutParameter',
  sts: 'AssumeRole GetFederationToken',
  cloudwatch: 'PutMetricData DeleteAlarms',
}).flatMap(([service, names]) => names.split(/\s+/).map((name) => `${service}:${name}`));

/** What the document says: for each function of a row, what it may do on what. */
export type Grants = Map<string, Map<string, string[]>>;

/** Reads the tables: a heading names rows, or says `everywhere`; a line has a function, a resource and actions. */
function documented(): Map<string, Grants> {
  const rows = new Map<string, Grants>();
  let named: string[] = [];
  for (const line of readFileSync(DOCUMENT, 'utf8').split('\n')) {
    const cells = line.split('|').map((cell) => cell.trim());
    if (line.startsWith('#')) {
      named = line === '### everywhere' ? ['everywhere'] : line.startsWith('### ') ? quoted(line) : [];
    } else if (cells.length === 6 && !['function', '---'].includes(cells[1]!)) {
      const [, name, resource, actions] = cells as [string, string, string, string];
      for (const row of named) {
        const grants = rows.get(row) ?? new Map();
        const ofFunction = grants.get(name) ?? new Map();
        rows.set(row, grants.set(name, ofFunction.set(resource, quoted(actions))));
      }
    }
  }
  return rows;
}

function quoted(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, found]) => found!);
}

export const DOCUMENTED = documented();

/** What a function may do in a row, or in several, according to the document; `anything` stands for every resource. */
export function granted(name: FunctionName, ...rows: Row[]): Map<string, string[]> {
  const everywhere = DOCUMENTED.get('everywhere')!;
  const every = everywhere.get('every function')!;
  const having = rows.filter(({ functions }) => functions.includes(name));
  const grants = new Map([
    ['its log', every.get('its log')!],
    ['anything', every.get('anything')!],
  ]);
  for (const row of having) {
    const network = usesRedis(row, name) ? everywhere.get('who uses the cache')! : [];
    for (const [on, actions] of [...DOCUMENTED.get(row.stage)!.get(name)!, ...network]) {
      grants.set(on, [...(grants.get(on) ?? []), ...actions]);
    }
  }
  return grants;
}

/** The resources of a deployment by what the document calls them, and some that no function has to do with. */
export function resources(from: Template, name: FunctionName): [called: string, arn: string][] {
  const found: [string, string][] = [];
  for (const [id, table] of properties(from, 'AWS::DynamoDB::GlobalTable')) {
    const called = `${table.TableName.replace(/^watershed-/, '')
      .replace(/-v1$/, '')
      .replace(/^read-v2$/, 'other read')} table`;
    found.push([called, `<${id}.Arn>`], [`${called}'s stream`, `<${id}.Arn>/stream/2026-01-01`]);
    for (const { IndexName } of table.GlobalSecondaryIndexes ?? []) {
      found.push([`${called}'s indexes`, `<${id}.Arn>/index/${IndexName}`]);
    }
    found.push([`${called}'s other indexes`, `<${id}.Arn>/index/by-else`]);
  }
  for (const [id, { QueueName }] of properties(from, 'AWS::SQS::Queue')) {
    found.push([QueueName.endsWith('-dlq') ? 'dead letters' : 'command queue', `<${id}.Arn>`]);
  }
  const log = (of: string) =>
    `arn:aws:logs:eu-central-1:111122223333:log-group:/aws/lambda/watershed-${of}:log-stream:one`;
  const arn = (rest: string) => `arn:aws:${rest}`;
  found.push(
    ['signing keys', config().signingKeysSecret],
    ['cache', arn('elasticache:eu-central-1:111122223333:serverlesscache:watershed')],
    ['cache', arn('elasticache:eu-central-1:111122223333:user:watershed')],
    ['another cache', arn('elasticache:eu-central-1:111122223333:serverlesscache:other')],
    ['another user', arn('elasticache:eu-central-1:111122223333:user:default')],
    ['its log', log(name)],
    ["another's log", log('other-fn')],
    ['another table', arn('dynamodb:eu-central-1:111122223333:table/other')],
    ['another queue', arn('sqs:eu-central-1:111122223333:other')],
    ['another secret', arn('secretsmanager:eu-central-1:111122223333:secret:other-AbCdEf')],
    ['a function', arn(`lambda:eu-central-1:111122223333:function:watershed-${name}`)],
    ['a role', arn('iam::111122223333:role/other')],
    ['a bucket', arn('s3:::other')],
    ['everything', '*'],
  );
  return found;
}

export function statements(from: Template, name: FunctionName): Statement[] {
  return statementsOf(from, functionOf(from, name).Role['Fn::GetAtt'][0]);
}

/** What is allowed and should not be, and the other way round. */
export function differences(from: Template, name: FunctionName, grants: Map<string, string[]>): string[] {
  const policy = statements(from, name);
  const asked = new Set([...ACTIONS, ...[...grants.values()].flat()]);
  return resources(from, name).flatMap(([called, resource]) =>
    [...asked].flatMap((action) => {
      const wanted = [called, 'anything'].some((on) => grants.get(on)?.includes(action));
      const allowed = isAllowed(policy, action, resource);
      return wanted === allowed ? [] : [`${name} ${allowed ? 'may' : 'may not'} ${action} on ${called} (${resource})`];
    }),
  );
}
