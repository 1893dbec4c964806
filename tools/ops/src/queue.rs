//! Shows the number of messages in the queues.

use crate::counts::counts;
use crate::output::{CommandOutput, Failure};
use crate::target::Target;

/// Counts the messages in the queue of commands and in its dead-letter queue. If there are dead letters, not all is well.
pub(crate) async fn run(target: &Target) -> Result<CommandOutput, Failure> {
    let client = target.sqs();
    let queue = counts(&client, target.queue_url()?).await?;
    let dead = counts(&client, target.dead_letter_queue_url()?).await?;
    let lines = vec![
        format!("commands      {} waiting, {} in flight, {} delayed", queue.visible, queue.in_flight, queue.delayed),
        format!("dead letters  {}", dead.visible + dead.in_flight),
    ];
    let is_ok = dead.visible + dead.in_flight == 0;
    let output = CommandOutput::new(is_ok, &serde_json::json!({ "queue": queue, "dead_letters": dead }), lines);
    Ok(if is_ok { output } else { output.with_next_step("`watershed dlq list`") })
}
