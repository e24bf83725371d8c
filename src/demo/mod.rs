//! `refork demo`: a call and an IM session that outlive a phone, on loopback, shown as a ladder.
//!
//! What is judged is what the phones saw on the wire; the server's own idea of it is not asked.

mod call;
mod checklist;
mod house;
mod page;
mod session;

use std::process::ExitCode;

use checklist::Checklist;
use house::House;
use page::Page;

/// Why a scene stopped before its end.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("the demo's own settings are wrong: {0}")]
    Settings(#[from] crate::config::ConfigErrors),
    #[error("the server did not start: {0}")]
    Server(#[from] crate::app::StartError),
    #[error("{0}")]
    Phone(#[from] crate::ua::UaError),
    #[error("{phone} was not registered: {status}")]
    Register { phone: String, status: u16 },
    #[error("the server listens nowhere")]
    Deaf,
}

/// Runs both scenes and prints what the phones saw. Succeeds only if all of it was as it should be.
pub fn run() -> ExitCode {
    let page = Page::new();
    match play(&page) {
        Ok(lists) => {
            let (seen, all) = lists.iter().fold((0, 0), |(seen, all), list| {
                (seen + list.seen(), all + list.len())
            });
            page.rule();
            if seen == all {
                page.line(&format!(
                    "All {all} points were observed by the phones. Next: `refork run`, and point your own at it."
                ));
                ExitCode::SUCCESS
            } else {
                page.line(&format!("Only {seen} of {all} points were observed."));
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            page.line(&format!("The demo could not run: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn play(page: &Page) -> Result<[Checklist; 2], DemoError> {
    let house = House::open()?;
    page.title("Refork: a conversation that outlives a phone");
    page.text(&house.story());
    let call = call::play(page, &house)?;
    let session = session::play(page, &house)?;
    Ok([call, session])
}
