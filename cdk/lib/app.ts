import { App, Validations } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import type { Config } from './config';
import type { Packages } from './packages';
import { Watershed } from './stack';
import type { StageConfig } from './stages';

/** Returns a CDK application. Its synthesis fails if cdk-nag reports a violation. */
export function newApp(outdir?: string): App {
  const app = new App({ analyticsReporting: false, treeMetadata: false, outdir });
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
  return app;
}

/** Adds a stack for each of these stages, as a step from another stage if `from` is set. All are templates of one stack. */
export function addStacks(
  app: App,
  config: Config,
  rows: StageConfig[],
  packages: Packages,
  from?: StageConfig,
): Watershed[] {
  return rows.map((row) => new Watershed(app, config, row, packages, from));
}
