import { Duration } from 'aws-cdk-lib';
import { DeduplicationScope, FifoThroughputLimit, Queue, QueueEncryption, type QueueProps } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import type { Config } from './config';
import { INGEST_TIMEOUT } from './functions';

/** How often a message is received before it is given up. Deferrals count as well, so it is generous. */
export const MAX_RECEIVE_COUNT = 20;

/** The commands on their way to the write store, and those that could not be applied. */
export class CommandQueue extends Construct {
  readonly queue: Queue;
  readonly deadLetters: Queue;
  /** Six times the function's timeout, and the window, as AWS advises: what fails half way is not yet visible again. */
  readonly visibilityTimeout: Duration;

  constructor(scope: Construct, config: Config) {
    super(scope, 'CommandQueue');
    const { fifo, windowSeconds } = config.queue;
    const ending = fifo ? '.fifo' : '';
    const kind: QueueProps = {
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      // High throughput: order within a user only.
      ...(fifo && {
        fifo,
        deduplicationScope: DeduplicationScope.MESSAGE_GROUP,
        fifoThroughputLimit: FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
      }),
    };
    this.visibilityTimeout = Duration.seconds(6 * INGEST_TIMEOUT.toSeconds() + windowSeconds);
    this.deadLetters = new Queue(this, 'DeadLetters', {
      ...kind,
      queueName: `${config.name}-commands-dlq${ending}`,
      retentionPeriod: Duration.days(14),
    });
    this.queue = new Queue(this, 'Commands', {
      ...kind,
      queueName: `${config.name}-commands${ending}`,
      retentionPeriod: Duration.days(4),
      visibilityTimeout: this.visibilityTimeout,
      deadLetterQueue: { queue: this.deadLetters, maxReceiveCount: MAX_RECEIVE_COUNT },
    });
  }
}
