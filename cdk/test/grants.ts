import { readFileSync } from 'node:fs';
import type { Template } from 'aws-cdk-lib/assertions';
import { type StageConfig, usesRedis } from '../lib/stages';
import { allowances, isAllowed, type Statement, statementsOf } from './policies';
import { config, functionOf, properties, specOf } from './support';

const DOCUMENT = '../docs/security.md';

/** The permissions in the document: for each binary of a stage, the actions on each resource. */
export type Grants = Map<string, Map<string, string[]>>;

/** Reads the document's tables. A heading names stages, or `everywhere`; a line has a binary, a resource and actions. */
function documented(): Map<string, Grants> {
  const byStage = new Map<string, Grants>();
  let stages: string[] = [];
  for (const line of readFileSync(DOCUMENT, 'utf8').split('\n')) {
    const cells = line.split('|').map((cell) => cell.trim());
    if (line.startsWith('#')) {
      stages = line === '### everywhere' ? ['everywhere'] : line.startsWith('### ') ? quoted(line) : [];
    } else if (cells.length === 6 && !['function', '---'].includes(cells[1]!)) {
      const [, name, resource, actions] = cells as [string, string, string, string];
      for (const stage of stages) {
        const grants = byStage.get(stage) ?? new Map();
        const ofBinary = grants.get(name) ?? new Map();
        byStage.set(stage, grants.set(name, ofBinary.set(resource, quoted(actions))));
      }
    }
  }
  return byStage;
}

function quoted(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, found]) => found!);
}

export const DOCUMENTED = documented();

/** Returns the permissions of a function at one or more stages, by the document. `anything` means the resource `*`. */
export function granted(name: string, ...rows: StageConfig[]): Map<string, string[]> {
  const spec = specOf(name);
  const everywhere = DOCUMENTED.get('everywhere')!;
  const stages = rows.filter(({ functions }) => functions.includes(spec));
  const grants = new Map(everywhere.get('every function')!);
  for (const row of stages) {
    const network = usesRedis(row, spec) ? everywhere.get('who uses the cache')! : [];
    for (const [on, actions] of [...DOCUMENTED.get(row.stage)!.get(spec.binary)!, ...network]) {
      grants.set(on, [...(grants.get(on) ?? []), ...actions]);
    }
  }
  return grants;
}

/** Returns the resources that a function may use: the document's name for each, and its ARN in a policy. */
export function resources(from: Template, name: string): [label: string, resource: string][] {
  const found: [string, string][] = [];
  for (const [id, table] of properties(from, 'AWS::DynamoDB::GlobalTable')) {
    const label = `${table.TableName.replace(/^watershed-/, '')
      .replace(/-v1$/, '')
      .replace(/^read-v2$/, 'other read')} table`;
    found.push([label, `<${id}.Arn>`]);
    for (const { IndexName } of table.GlobalSecondaryIndexes ?? []) {
      found.push([`${label}'s indexes`, `<${id}.Arn>/index/${IndexName}`]);
    }
  }
  for (const [id] of properties(from, 'AWS::SQS::Queue').filter(([id]) => /^CommandQueue/.test(id))) {
    found.push([id.includes('DeadLetters') ? 'dead letters' : 'command queue', `<${id}.Arn>`]);
  }
  const arn = (service: string, rest: string) => `arn:aws:${service}:eu-central-1:111122223333:${rest}`;
  for (const [, { ServerlessCacheName }] of properties(from, 'AWS::ElastiCache::ServerlessCache')) {
    found.push(['cache', arn('elasticache', `serverlesscache:${ServerlessCacheName}`)]);
  }
  for (const [, { UserName }] of properties(from, 'AWS::ElastiCache::User')) {
    found.push(['cache', arn('elasticache', `user:${UserName}`)]);
  }
  return [
    ...found,
    ['signing keys', config().signingKeysSecret],
    ['its log', arn('logs', `log-group:/aws/lambda/watershed-${name}:*`)],
    ['anything', '*'],
  ];
}

export function statements(from: Template, name: string): Statement[] {
  return statementsOf(from, functionOf(from, name).Role['Fn::GetAtt'][0]);
}

/**
 * Returns the differences from the document. An extra permission counts even under a condition. A documented one counts as missing
 * if it has a condition.
 */
export function differences(from: Template, name: string, grants: Map<string, string[]>): string[] {
  const [policy, known] = [statements(from, name), resources(from, name)];
  const labels = new Map(known.map(([label, resource]) => [resource, label]));
  const extra = allowances(policy)
    .filter(([action, resource]) => !grants.get(labels.get(resource) ?? '')?.includes(action))
    .map(([action, resource]) => `may ${action} on ${labels.get(resource) ?? resource}`);
  const missing = [...grants].flatMap(([on, actions]) => {
    const labelled = known.filter(([label]) => label === on);
    const denied = actions.filter((action) => !labelled.every(([, resource]) => isAllowed(policy, action, resource)));
    return labelled.length === 0 ? [`has no ${on}`] : denied.map((action) => `may not ${action} on ${on}`);
  });
  return [...extra, ...missing].map((difference) => `${name} ${difference}`);
}
