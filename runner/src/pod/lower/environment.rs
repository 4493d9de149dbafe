//! The environment of an app.

use appc_spec::App;

use super::Inputs;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the executor says it is; programs look at it to see that they run in a container.
const EXECUTOR: &str = "rkt";

/// Defaults, below what the app sets, below what the specification has the executor set.
pub(super) fn environment(inputs: &Inputs<'_>, app: &App) -> Vec<String> {
    let account = inputs.account;
    let defaults = [
        ("PATH", PATH),
        ("HOME", &account.home),
        ("USER", &account.name),
        ("LOGNAME", &account.name),
        ("SHELL", &account.shell),
    ];
    let fixed = [("AC_APP_NAME", inputs.app.name.as_str()), ("container", EXECUTOR)];
    let is_fixed = |name: &str| fixed.iter().any(|(key, _)| *key == name);
    let unset = |(name, _): &(&str, &str)| app.environment.get(name).is_none();
    let terminal = inputs.terminal.map(|terminal| ("TERM", terminal.kind.as_str()));
    defaults
        .into_iter()
        .chain(terminal)
        .filter(unset)
        .chain(app.environment.iter().map(|v| (v.name.as_str(), v.value.as_str())).filter(|(name, _)| !is_fixed(name)))
        .chain(fixed)
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}
