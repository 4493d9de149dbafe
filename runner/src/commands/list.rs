//! `rkt list`

use crate::cli::Global;
use crate::commands::Format;
use crate::failure::{Context, Outcome};
use crate::human;
use crate::output;
use crate::pod::dir::{Place, Pods};
use crate::pod::view::PodView;

/// What `list` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  rkt list --full")]
pub struct Args {
    /// Leaves out the headings
    #[arg(long)]
    no_legend: bool,
    /// Shows whole UUIDs, image IDs and times
    #[arg(long)]
    full: bool,
    /// Prints JSON
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// Lists the pods there are.
pub fn run(global: &Global, args: Args) -> Outcome {
    let places = [Place::Prepare, Place::Run, Place::ExitedGarbage];
    let pods = Pods::new(&global.dir).all(&places)?;
    let mut views = Vec::new();
    let mut errors = Vec::new();
    for pod in &pods {
        match PodView::of(pod) {
            Ok(view) => views.push(view),
            // Gone since.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => errors.push(e.to_string()),
        }
    }
    views.sort_by_key(|view| view.created);
    let text = match args.format {
        Some(format) => format.print(&views)?,
        None => table(&views, &args),
    };
    output::print(&text).context("writing to standard output")?;
    if !errors.is_empty() {
        global.warn(format!("{} error(s) encountered when listing pods:", errors.len()));
        errors.iter().for_each(|error| global.warn(error));
    }
    Ok(0)
}

fn table(views: &[PodView], args: &Args) -> String {
    let mut heading = vec!["UUID", "APP", "IMAGE NAME", "STATE", "CREATED", "STARTED", "NETWORKS"];
    if args.full {
        heading.insert(3, "IMAGE ID");
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    if !args.no_legend {
        rows.push(heading.into_iter().map(String::from).collect());
    }
    let now = human::now();
    views.iter().for_each(|view| rows.extend(pod_rows(view, args.full, now)));
    output::table(&rows)
}

/// One row per app; what is the pod's stands in the first.
fn pod_rows(view: &PodView, full: bool, now: i64) -> Vec<Vec<String>> {
    let time =
        |time: Option<i64>| time.map(|t| if full { human::time(t) } else { human::ago(t, now) }).unwrap_or_default();
    let uuid = if full { view.name.clone() } else { view.name.chars().take(8).collect() };
    let row = |uuid: String, app: [String; 3], pod: [String; 4]| {
        let [name, image, id] = app;
        let mut row = vec![uuid, name, image];
        if full {
            row.push(id);
        }
        row.extend(pod);
        row
    };
    let first = [view.state.to_string(), time(view.created), time(view.started), view.networks.join(", ")];
    if view.apps.is_empty() {
        return vec![row(uuid, ["-", "-", "-"].map(String::from), first)];
    }
    // `sha512-` and twelve digits.
    let id = |id: &str| id.chars().take(19).collect::<String>();
    let app = |app: &crate::pod::view::AppView| [app.name.clone(), app.image_name.clone(), id(&app.image_id)];
    let mut rows = vec![row(uuid, app(&view.apps[0]), first)];
    rows.extend(view.apps[1..].iter().map(|a| row(String::new(), app(a), Default::default())));
    rows
}
