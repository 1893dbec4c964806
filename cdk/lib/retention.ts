import { RemovalPolicies, RemovalPolicy } from 'aws-cdk-lib';
import type { IConstruct } from 'constructs';
import type { Config } from './config';

/**
 * Sets the removal policy of all resources in a scope that holds data. With `retainData` they stay in the account if a stage does
 * without them, or if a change of the configuration replaces them. They also stay if the stack is deleted.
 */
export function retain(scope: IConstruct, { retainData }: Config): void {
  RemovalPolicies.of(scope).apply(retainData ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY);
}
