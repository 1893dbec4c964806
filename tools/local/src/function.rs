//! The functions that are built into this program.

use tokio::runtime::Builder;

/// Runs one in this process, until its Runtime API is gone.
pub(crate) fn run(name: &str) -> Result<(), String> {
    // As in production, where an environment has one core or less.
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let ended = runtime.block_on(async {
        match name {
            "read-fn" => read_fn::run().await,
            "write-fn" => write_fn::run().await,
            "ingest-fn" => ingest_fn::run().await,
            "lith-fn" => lith_fn::run().await,
            "create-user-fn" => write_fn::run_create_user().await,
            "replace-user-fn" => write_fn::run_replace_user().await,
            "update-user-fn" => write_fn::run_update_user().await,
            "delete-user-fn" => write_fn::run_delete_user().await,
            "get-user-fn" => read_fn::run_get_user().await,
            "list-users-fn" => read_fn::run_list_users().await,
            "get-command-fn" => read_fn::run_get_command().await,
            _ => Err(format!("no function is called {name}").into()),
        }
    });
    ended.map_err(|error| format!("{name}: {error}"))
}
