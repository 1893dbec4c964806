import { App, Validations } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import type { Config } from './config';
import type { Packages } from './packages';
import { Watershed } from './stack';
import type { Row } from './stages';

/** An application of the CDK. Its synthesis fails where cdk-nag finds fault. */
export function newApp(outdir?: string): App {
  const app = new App({ analyticsReporting: false, treeMetadata: false, outdir });
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
  return app;
}

/** The service at each of these rows, coming from another one or not: templates of the same stack. */
export function addStacks(app: App, config: Config, rows: Row[], packages: Packages, from?: Row): Watershed[] {
  return rows.map((row) => new Watershed(app, config, row, packages, from));
}
