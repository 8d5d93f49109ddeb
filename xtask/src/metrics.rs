//! `cargo xtask docs`: writes docs/metrics.md from the definitions of the metrics, and checks it.

#[path = "../../crates/server/src/limits/metrics/definitions.rs"]
#[allow(dead_code, reason = "the export uses each by its name, the document all of them")]
mod definitions;

use definitions::{ALL, Definition};
use std::{fmt::Write as _, fs, path::Path};

const DOCUMENT: &str = "docs/metrics.md";

const HEAD: &str = "\
<!-- Written by `cargo xtask docs` from crates/server/src/limits/metrics/definitions.rs: change that, and run it again. -->

# Metrics

A running server exports these metrics in Prometheus' text format at `/metrics` on its control socket:

```sh
curl --unix-socket /var/lib/posta/control.sock http://posta/metrics
```

and over HTTPS to programs with a token for the whole server ([http.md](http.md#health)). With the token that `posta token add
prometheus --read-only` prints in a file, Prometheus reads them there:

```yaml
scrape_configs:
  - job_name: posta
    scheme: https
    authorization: {credentials_file: /etc/prometheus/posta.token}
    static_configs: [{targets: [mail.example.org]}]
```

Clients in the networks of the option `metrics.networks` need no token.

Every value is there from the start, and no client can add to their number: of destinations, the fifty busiest have values
of their own. [grafana/posta.json](grafana/posta.json) is a dashboard for Grafana that shows them.

";

/// Writes the document.
pub(crate) fn write(root: &Path) -> Result<(), String> {
    fs::write(root.join(DOCUMENT), document())
        .map_err(|error| format!("{DOCUMENT} cannot be written: {error}"))
}

/// Returns the problem with the document, if there is one.
pub(crate) fn check(root: &Path) -> Option<String> {
    let stands = fs::read_to_string(root.join(DOCUMENT)).unwrap_or_default();
    let is_other = stands != document();
    is_other.then(|| format!("{DOCUMENT} is not what the definitions say: run `cargo xtask docs`"))
}

fn document() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("| metric | kind | meaning |\n|--------|------|---------|\n");
    for Definition { name, kind, labels, help } in ALL {
        let _ = write!(text, "| `{name}` | {} | {help}", kind.name());
        for (label, values) in *labels {
            let _ = write!(text, " `{label}`: {values}.");
        }
        text.push_str(" |\n");
    }
    text
}
