import { Duration, RemovalPolicy, Stack, TimeZone, Validations } from 'aws-cdk-lib';
import {
  BuildSpec,
  ComputeType,
  LinuxArmBuildImage,
  LinuxBuildImage,
  Project,
  Source,
} from 'aws-cdk-lib/aws-codebuild';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { Asset } from 'aws-cdk-lib/aws-s3-assets';
import { Schedule, ScheduleExpression } from 'aws-cdk-lib/aws-scheduler';
import { CodeBuildStartBuild } from 'aws-cdk-lib/aws-scheduler-targets';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import type { CommandQueue } from './command-queue';
import type { Config } from './config';
import type { Packages } from './packages';
import { acknowledgeLogStreams, allow, roleFor } from './permissions';
import type { Stores } from './stores';

/** The parts that the comparison needs. */
export interface Compared {
  config: Config;
  stores: Stores;
  commandQueue: CommandQueue | undefined;
  packages: Packages;
}

/**
 * The nightly comparison: `watershed verify` checks that the read store shows the state of the write store.
 *
 * It is a build of CodeBuild, because it may take longer than a function's timeout, and costs nothing until it starts. It reads
 * both tables completely, at $0.125 per million units of 4 KB. It skips Redis, so it needs no network; stale entries there expire.
 */
export class Verification extends Construct {
  readonly project: Project;
  /** The starts that the schedule could not make. */
  readonly deadLetters: Queue;

  constructor(scope: Construct, { config, stores, commandQueue, packages }: Compared) {
    super(scope, 'Verification');
    const tool = new Asset(this, 'Tool', { path: packages.folder('watershed') });
    const isArm = packages.architecture('watershed') === Architecture.ARM_64;
    const projectName = `${config.name}-verify`;
    const log = new LogGroup(this, 'Log', {
      logGroupName: `/aws/codebuild/${projectName}`,
      retention: config.logRetentionDays,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    this.project = new Project(this, 'Project', {
      projectName,
      description: 'Compares the stores of Watershed, key by key',
      source: Source.s3({ bucket: tool.bucket, path: tool.s3ObjectKey }),
      environment: {
        buildImage: isArm ? LinuxArmBuildImage.AMAZON_LINUX_2023_STANDARD_3_0 : LinuxBuildImage.AMAZON_LINUX_2023_5,
        computeType: ComputeType.SMALL,
      },
      environmentVariables: {
        WRITE_TABLE: { value: stores.write.tableName },
        READ_TABLE: { value: stores.read?.tableName },
        // With the queue, the log reports a backlog, which explains missing or older views.
        ...(commandQueue && { QUEUE_URL: { value: commandQueue.queue.queueUrl } }),
      },
      buildSpec: BuildSpec.fromObject({
        version: '0.2',
        phases: { build: { commands: ['chmod +x bootstrap', './bootstrap verify'] } },
      }),
      timeout: Duration.hours(8),
      logging: { cloudWatch: { logGroup: log } },
      role: this.role({ stores, commandQueue }, tool, `/aws/codebuild/${projectName}`).withoutPolicyUpdates(),
      grantReportGroupPermissions: false,
    });
    Validations.of(this.project).acknowledge({
      id: 'AwsSolutions::AwsSolutions-CB4',
      reason: 'It has no artifacts and no cache, so there is nothing to encrypt.',
    });
    this.deadLetters = new Queue(this, 'DeadLetters', {
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: Duration.days(14),
      removalPolicy: RemovalPolicy.DESTROY,
    });
    Validations.of(this.deadLetters).acknowledge({
      id: 'AwsSolutions::AwsSolutions-SQS3',
      reason: 'It is the dead-letter queue of the schedule.',
    });
    new Schedule(this, 'Nightly', {
      description: 'Starts the comparison of the stores',
      schedule: ScheduleExpression.cron({ hour: '3', minute: '17', timeZone: TimeZone.ETC_UTC }),
      target: new CodeBuildStartBuild(this.project, { retryAttempts: 3, deadLetterQueue: this.deadLetters }),
    });
  }

  /** Returns the role of the tool. It scans both tables, reads differing items again, and counts the commands in the queue. */
  private role({ stores, commandQueue }: Pick<Compared, 'stores' | 'commandQueue'>, tool: Asset, logGroupName: string) {
    const logStreams = Stack.of(this).formatArn({ service: 'logs', resource: `log-group:${logGroupName}:*` });
    const tables = [stores.write, stores.read].filter((table) => table !== undefined).map((table) => table.tableArn);
    const role = roleFor(
      this,
      'codebuild.amazonaws.com',
      allow(['dynamodb:Scan', 'dynamodb:BatchGetItem'], ...tables),
      allow(['dynamodb:DescribeTable'], stores.write.tableArn),
      ...(commandQueue ? [allow(['sqs:GetQueueAttributes'], commandQueue.queue.queueArn)] : []),
      allow(['s3:GetObject', 's3:GetObjectVersion'], tool.bucket.arnForObjects(tool.s3ObjectKey)),
      allow(['logs:CreateLogStream', 'logs:PutLogEvents'], logStreams),
    );
    acknowledgeLogStreams(role, logGroupName);
    return role;
  }
}
