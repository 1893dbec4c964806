import assert from 'node:assert/strict';
import type { Template } from 'aws-cdk-lib/assertions';
import { properties } from './support';

/** A statement of a policy, with its resources as texts. */
export interface Statement {
  readonly effect: 'Allow' | 'Deny';
  readonly actions: string[];
  readonly resources: string[];
  readonly conditions: object | undefined;
}

const PSEUDO: Record<string, string> = {
  'AWS::Partition': 'aws',
  'AWS::Region': 'eu-central-1',
  'AWS::AccountId': '111122223333',
};

/** Returns the value as CloudFormation would resolve it. A placeholder replaces each name that exists only after the deployment. */
export function resolve(value: any): string {
  if (typeof value === 'string') {
    return value;
  }
  if (value.Ref !== undefined) {
    return PSEUDO[value.Ref] ?? `<${value.Ref}>`;
  }
  if (value['Fn::GetAtt'] !== undefined) {
    return `<${value['Fn::GetAtt'].join('.')}>`;
  }
  if (value['Fn::Join'] !== undefined) {
    const [separator, parts] = value['Fn::Join'];
    return parts.map(resolve).join(separator);
  }
  if (value['Fn::Sub'] !== undefined) {
    return value['Fn::Sub'].replace(/\$\{([^}]+)\}/g, (_: string, name: string) => resolve({ Ref: name }));
  }
  throw new Error(`cannot resolve ${JSON.stringify(value)}`);
}

const list = (value: any): any[] => (Array.isArray(value) ? value : [value]);

/** The types of resources that attach a policy to roles, with the function that returns these roles. */
const ATTACHED: Record<string, (properties: any) => any[]> = {
  'AWS::IAM::Policy': ({ Roles }) => Roles ?? [],
  'AWS::IAM::ManagedPolicy': ({ Roles }) => Roles ?? [],
  'AWS::IAM::RolePolicy': ({ RoleName }) => [RoleName],
};

/** Returns all statements that apply to a role, from every resource that has one. */
export function statementsOf(from: Template, role: string): Statement[] {
  const [, own] = properties(from, 'AWS::IAM::Role').find(([id]) => id === role)!;
  assert.equal(own.ManagedPolicyArns, undefined, `${role} has policies that are not in the template`);
  const attached = Object.entries(ATTACHED).flatMap(([type, rolesOf]) =>
    properties(from, type)
      .map(([, policy]) => policy)
      .filter((policy) => rolesOf(policy).some((reference) => roleId(reference) === role)),
  );
  return [...(own.Policies ?? []), ...attached]
    .flatMap(({ PolicyDocument }) => list(PolicyDocument.Statement))
    .map(statementFrom);
}

/** Returns the logical id of a role. A plain name is an error, because it could be that of any role. */
function roleId(reference: any): string {
  assert.equal(typeof reference.Ref, 'string', `cannot tell which role ${JSON.stringify(reference)} is`);
  return reference.Ref;
}

function statementFrom(statement: any): Statement {
  const { Effect, Action, Resource, Condition, Sid, ...more } = statement;
  // An example is NotAction, which allows all actions except the named ones.
  assert.deepEqual(more, {}, 'a statement with parts that are not understood');
  return { effect: Effect, actions: list(Action), resources: list(Resource).map(resolve), conditions: Condition };
}

/** Returns every allowed action and resource as written, even under a condition. */
export function allowances(statements: Statement[]): [action: string, resource: string][] {
  return statements
    .filter(({ effect }) => effect === 'Allow')
    .flatMap(({ actions, resources }) =>
      actions.flatMap((action) => resources.map((resource): [string, string] => [action, resource])),
    );
}

/** Returns whether Lambda may do this with the function's role. Conditions count for the function's own code only. */
export function isAllowed(statements: Statement[], action: string, resource: string): boolean {
  const applies = (statement: Statement) =>
    statement.actions.some((pattern) => matches(pattern, action)) &&
    statement.resources.some((pattern) => matches(pattern, resource));
  const [denied, allowed] = ['Deny', 'Allow'].map((effect) =>
    statements.some(
      (statement) => statement.effect === effect && statement.conditions === undefined && applies(statement),
    ),
  );
  return allowed === true && denied === false;
}

/**
 * Compares like `ArnLike`: case-sensitive, and each of the six parts between colons separately. In the last part `*` also matches
 * slashes. The API reference says that Lambda compares a SourceArn with `StringLike`. The policies that Lambda creates have
 * `ArnLike`, which is stricter.
 */
export function arnLike(pattern: string, arn: string): boolean {
  const [patterns, parts] = [pattern, arn].map((text) => {
    const [arn, partition, service, region, account, ...resource] = text.split(':');
    return [arn, partition, service, region, account, resource.join(':')];
  });
  return parts!.every((part, index) => wildcards(patterns![index]!).test(part!));
}

/** Compares like IAM: `*` matches any text, `?` any character. */
function matches(pattern: string, text: string): boolean {
  if (!/[*?]/.test(pattern)) {
    return pattern.toLowerCase() === text.toLowerCase();
  }
  return wildcards(pattern, 'i').test(text);
}

function wildcards(pattern: string, flags = ''): RegExp {
  const escaped = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${escaped}$`, flags);
}
