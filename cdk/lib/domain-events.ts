import { Validations } from 'aws-cdk-lib';
import type { TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import { EventBus } from 'aws-cdk-lib/aws-events';
import { CfnPipe } from 'aws-cdk-lib/aws-pipes';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import type { Config } from './config';
import { allow, roleFor } from './permissions';
import { retain } from './retention';

/** The number of attempts before a change goes to the dead-letter queue. */
const ATTEMPTS_MAX = 20;

/**
 * Publishes changes of items for other services: from the write table's stream through a pipe to a bus, without a function. A
 * stream takes at most two readers, so one pipe serves all resources.
 *
 * The key in an event begins with the kind of the item (`U#tenant#id`), so a subscriber's rule can select a resource. An event
 * contains only the item's key and its current version. A subscriber with the permission can read the item from the API. Events
 * come at least once, and in order for each item; the version shows which is the newest.
 */
export class DomainEvents extends Construct {
  readonly bus: EventBus;
  /** The changes that could not be published. */
  readonly deadLetters: Queue;

  constructor(scope: Construct, config: Config, table: TableV2) {
    super(scope, 'DomainEvents');
    const stream = table.tableStreamArn ?? '';
    this.bus = new EventBus(this, 'Bus', { eventBusName: config.name });
    this.deadLetters = new Queue(this, 'DeadLetters', {
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
    });
    retain(this.deadLetters, config);
    Validations.of(this.deadLetters).acknowledge({
      id: 'AwsSolutions::AwsSolutions-SQS3',
      reason: 'It is the dead-letter queue of the pipe.',
    });
    const role = roleFor(
      this,
      'pipes.amazonaws.com',
      // https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-permissions.html
      allow(['dynamodb:DescribeStream', 'dynamodb:GetRecords', 'dynamodb:GetShardIterator'], stream),
      allow(['dynamodb:ListStreams'], '*'),
      allow(['events:PutEvents'], this.bus.eventBusArn),
      allow(['sqs:SendMessage'], this.deadLetters.queueArn),
    );
    Validations.of(role).acknowledge({
      id: 'AwsSolutions::AwsSolutions-IAM5[Resource::*]',
      reason: 'ListStreams takes no resource. It returns the names of streams, and none of their contents.',
    });
    new CfnPipe(this, 'Pipe', {
      name: `${config.name}-changes`,
      roleArn: role.roleArn,
      source: stream,
      sourceParameters: {
        // Only items have versions. Unique keys and the progress of the operators' tool have none.
        filterCriteria: {
          filters: [{ pattern: JSON.stringify({ dynamodb: { NewImage: { version: { N: [{ exists: true }] } } } }) }],
        },
        dynamoDbStreamParameters: {
          startingPosition: 'LATEST',
          maximumRetryAttempts: ATTEMPTS_MAX,
          onPartialBatchItemFailure: 'AUTOMATIC_BISECT',
          deadLetterConfig: { arn: this.deadLetters.queueArn },
        },
      },
      target: this.bus.eventBusArn,
      targetParameters: {
        eventBridgeEventBusParameters: { source: 'watershed', detailType: 'Changed' },
        inputTemplate: '{"key": <$.dynamodb.Keys.pk.S>, "version": <$.dynamodb.NewImage.version.N>}',
      },
    });
  }
}
