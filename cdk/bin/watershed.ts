#!/usr/bin/env node
/**
 * The CDK application.
 *
 * `cdk synth` writes the templates of the seven named stages, to read.
 * `cdk deploy -c stage=… -c from=… -c config=…` deploys one stage, as a step from another stage if `from` is set.
 * `make deploy` calls it, and adds `-c deploying=true`. With `-c first=true` this deployment neither retains nor protects data;
 * the next one does.
 */
import { join } from 'node:path';
import { addStacks, newApp } from '../lib/app';
import { type Config, loadConfig } from '../lib/config';
import { Packages } from '../lib/packages';
import { Refusal } from '../lib/refusal';
import { allStages, stageBefore, stageOf } from '../lib/stages';

const EXAMPLE = join(__dirname, '../config.example.json');

function main(): void {
  const app = newApp();
  const [stage, from, config, deploying, first] = ['stage', 'from', 'config', 'deploying', 'first'].map((key) =>
    app.node.tryGetContext(key),
  );
  if (config === undefined && (stage !== undefined || deploying !== undefined)) {
    throw new Refusal('no configuration: set -c config=<a JSON file such as cdk/config.example.json>');
  }
  if (first !== undefined && from !== undefined) {
    throw new Refusal('the first deployment replaces no stage: leave out FROM, or `-c first=true`');
  }
  const loaded = loadConfig(config ?? EXAMPLE);
  // A failed first deployment could not delete a protected table, and the next try would find its name taken.
  const settings = first === undefined ? loaded : { ...loaded, retainData: false };
  if (deploying !== undefined) {
    checkAccount(settings);
  }
  if (stage !== undefined) {
    const row = stageOf(stage);
    addStacks(app, settings, [row], Packages.built(), from === undefined ? row : stageBefore(row, from));
  } else {
    const rows = allStages().filter((row) => row.kind === 'stage');
    addStacks(app, settings, rows, packagesOrPlaceholders());
  }
  app.synth();
}

function packagesOrPlaceholders(): Packages {
  const packages = Packages.built();
  if (packages.complete) {
    return packages;
  }
  console.error('target/lambda lacks packages: the templates have placeholders; run `make package` before you deploy');
  return Packages.placeholders();
}

/**
 * Checks that the ARNs in the configuration belong to the account and region of the deployment. The CDK's command line sets both if
 * it knows them.
 */
function checkAccount({ signingKeysSecret, domain }: Config): void {
  const { CDK_DEFAULT_ACCOUNT: account, CDK_DEFAULT_REGION: region } = process.env;
  if (!account || !region) {
    throw new Refusal(
      `no AWS ${account ? 'region' : 'account'} to deploy to: log in with the AWS CLI, or set AWS_PROFILE and AWS_REGION`,
    );
  }
  const arns = {
    'the secret with the signing keys': signingKeysSecret,
    'the certificate of the domain': domain?.certificate,
  };
  for (const [name, arn] of Object.entries(arns)) {
    const [, , , arnRegion, arnAccount] = arn?.split(':') ?? [];
    if (arn !== undefined && (arnAccount !== account || arnRegion !== region)) {
      throw new Refusal(`${name} is in account ${arnAccount}, ${arnRegion}, but you deploy to ${account}, ${region}`);
    }
  }
}

try {
  main();
} catch (error) {
  if (!(error instanceof Refusal)) {
    throw error;
  }
  console.error(error.message);
  process.exitCode = 1;
}
