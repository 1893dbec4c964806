import { CfnOutput, Stack } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import { Api } from './api';
import { Cache } from './cache';
import { CommandQueue } from './command-queue';
import type { Config } from './config';
import { DomainEvents } from './domain-events';
import { Functions } from './functions';
import { Monitoring } from './monitoring';
import { Network } from './network';
import type { Packages } from './packages';
import { Rollout } from './rollout';
import { type StageConfig, usesRedis } from './stages';
import { Stores } from './stores';
import { Verification } from './verification';

/**
 * The stack of the service at one stage.
 *
 * The stack's name does not contain the stage, and a resource keeps its logical id from stage to stage. So another stage is an
 * update of the same stack, and the update leaves all data in place.
 *
 * During a step, old code still runs and needs its resources. So a deployment with `from` also has the resources of that stage,
 * until a deployment without `from` (docs/adr/0016).
 */
export class Watershed extends Stack {
  constructor(scope: Construct, config: Config, row: StageConfig, packages: Packages, from = row) {
    super(scope, `Watershed-${row.stage}`, { stackName: config.name, description: `Watershed, stage ${row.stage}` });

    const rows = from.stage === row.stage ? [row] : [row, from];
    const withQueue = rows.some((row) => row.queue_deployed);
    const withRedis = config.redis && rows.some((row) => row.functions.some((spec) => usesRedis(row, spec)));

    const stores = new Stores(this, config, rows);
    const commandQueue = withQueue ? new CommandQueue(this, config) : undefined;
    const network = withRedis ? new Network(this, config, rows) : undefined;
    const cache = network && new Cache(this, config, network);
    const functions = new Functions(this, { config, row, rows, packages, stores, commandQueue, network, cache });
    const api = new Api(this, config, functions);
    const domainEvents = config.domainEvents ? new DomainEvents(this, config, stores.write) : undefined;
    const verified = config.nightlyVerify && row.writes_read_store;
    const verification = verified ? new Verification(this, { config, stores, commandQueue, packages }) : undefined;
    const monitored = { config, row, api, functions, stores, commandQueue, cache, domainEvents, verification };
    const monitoring = new Monitoring(this, monitored);
    if (config.canary) {
      new Rollout(this, functions, monitoring);
    }

    this.output('Stage', row.stage);
    this.output('Url', api.url);
    this.output('DomainTarget', api.domainTarget);
    // The outputs for the operators' tool: see docs/operations.md.
    this.output('WriteTable', stores.write.tableName);
    this.output('CommandsTable', stores.commands.tableName);
    this.output('ReadTable', stores.read?.tableName);
    this.output('OtherReadTable', stores.otherRead?.tableName);
    this.output('QueueUrl', commandQueue?.queue.queueUrl);
    this.output('DeadLetterQueueUrl', commandQueue?.deadLetters.queueUrl);
  }

  private output(id: string, value: string | undefined): void {
    if (value !== undefined) {
      new CfnOutput(this, id, { value });
    }
  }
}
