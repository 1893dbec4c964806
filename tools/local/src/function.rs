//! The functions that are built into this program.

use tokio::runtime::Builder;

/// Runs one of them in this process, until its Runtime API ends.
pub(crate) fn run(binary: &str) -> Result<(), String> {
    // One thread, as on AWS: there an environment has one core or less.
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let ended = runtime.block_on(async {
        match binary {
            "read-fn" => read_fn::run().await,
            "write-fn" => write_fn::run().await,
            "ingest-fn" => ingest_fn::run().await,
            "lith-fn" => lith_fn::run().await,
            "create-fn" => write_fn::run_create().await,
            "replace-fn" => write_fn::run_replace().await,
            "update-fn" => write_fn::run_update().await,
            "act-fn" => write_fn::run_act().await,
            "delete-fn" => write_fn::run_delete().await,
            "get-fn" => read_fn::run_get().await,
            "list-fn" => read_fn::run_list().await,
            "get-command-fn" => read_fn::run_get_command().await,
            _ => Err(format!("unknown function {binary}").into()),
        }
    });
    ended.map_err(|error| format!("{binary}: {error}"))
}
