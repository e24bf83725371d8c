//! The second scene: an IM session.

use std::time::Duration;

use crate::ua::{Call, Ending, Ladder, Medium, Phone, Reaction, UaError};

use super::DemoError;
use super::checklist::{Checklist, requests};
use super::house::{ALICE, BOB, DESK, House, MOBILE};
use super::page::{Page, WIDTH};

const SOON: Duration = Duration::from_secs(5);
const RESTORED_WITHIN: Duration = Duration::from_secs(15);
const MEANWHILE: [&str; 3] = ["one", "two", "three"];

pub(super) fn play(page: &Page, house: &House) -> Result<Checklist, DemoError> {
    page.heading("2. A chat, whose phone dies while Alice is writing");
    page.line("");
    let desk = house.desk()?;
    let zero = house.log.now();
    let mut scene = Scene {
        page,
        house,
        desk,
        zero,
        list: Checklist::default(),
    };
    let stopped = scene.act().err();
    if let Some(error) = stopped {
        scene
            .list
            .check(false, format!("The scene stopped: {error}"));
    }
    page.line("");
    page.line(scene.ladder().trim_end());
    scene.list.print(page);
    Ok(scene.list)
}

struct Scene<'a> {
    page: &'a Page,
    house: &'a House,
    desk: Phone,
    zero: Duration,
    list: Checklist,
}

impl Scene<'_> {
    fn act(&mut self) -> Result<(), UaError> {
        let (alice, mobile) = (&self.house.alice, &self.house.mobile);
        let quick = Reaction::Answer(Duration::from_millis(300));
        mobile.script(|script| script.invite = Reaction::Ring);
        self.desk.script(|script| script.invite = quick);

        self.page
            .step("Alice opens an IM session with Bob (m=message); he answers at his desk.");
        let call = alice.call(BOB, Medium::Text)?;
        let taken = self.desk.incoming(SOON)?;
        let other = mobile.incoming(SOON)?;
        call.wait_up(SOON)?;
        other.wait_over(SOON)?;
        let sent = (call.message("Hi Bob!")?, taken.message("Hi Alice!")?);
        let arrived = taken.wait_texts(1, SOON)?[0].body == "Hi Bob!"
            && call.wait_texts(1, SOON)?[0].body == "Hi Alice!";
        self.list.check(
            arrived && sent == (200, 200),
            "Alice and Bob's desk phone exchanged messages",
        );

        self.page
            .step("Bob's desk phone is killed. Alice does not know, and writes three messages.");
        let slow = Reaction::Answer(Duration::from_millis(1200));
        mobile.script(|script| script.invite = slow);
        let killed = self.house.log.now();
        self.desk.kill();
        let mut statuses = Vec::new();
        for text in MEANWHILE {
            statuses.push(call.message(text)?);
        }
        self.list.check(
            statuses == [202; 3],
            format!("Each was taken in Bob's absence: {statuses:?}"),
        );

        let again = mobile.incoming(RESTORED_WITHIN)?;
        self.page.step(
            "Bob's mobile rings; he takes it, reads what was written meanwhile, and writes back.",
        );
        again.wait_up(SOON)?;
        again.wait_texts(MEANWHILE.len(), SOON)?;
        let notice = call.wait_texts(2, SOON)?;
        let back = again.message("I am on my mobile now.")?;
        call.wait_texts(3, SOON)?;
        let texts = again.texts();
        let bodies: Vec<&str> = texts.iter().map(|text| text.body.as_str()).collect();
        self.list.check(
            bodies == MEANWHILE,
            format!(
                "They arrived at Bob's mobile in order, once each: {}",
                bodies.join(", ")
            ),
        );
        let last = texts.last().map_or(killed, |text| text.at);
        self.list.check(
            notice[1].body.contains("continuing on Bob's mobile") && notice[1].at >= last,
            format!(
                "Then Alice was told in a MESSAGE: {:?}",
                notice[1].body.trim()
            ),
        );
        self.list.check(
            back == 200 && call.texts()[2].body == "I am on my mobile now.",
            "Bob's reply reached her within the same session",
        );
        self.hang_up(&call, &again, killed)
    }

    fn hang_up(&mut self, call: &Call, again: &Call, killed: Duration) -> Result<(), UaError> {
        let (alice, mobile) = (&self.house.alice, &self.house.mobile);
        let farewell = self.house.log.now();
        self.page.step("Alice closes the session.");
        let status = call.hang_up()?;
        let ended = again.wait_over(SOON)?;
        // The notice, and Bob's reply.
        let asked = requests(&self.house.log, alice, killed, farewell);
        self.list.only_the_notice(&asked, 2);
        self.list.check(
            status == 200 && ended == Ending::HungUpThere,
            "Alice closed the session, and Bob's mobile got the BYE",
        );
        self.list.all_quiet(&[alice, &self.desk, mobile]);
        Ok(())
    }

    fn ladder(&self) -> String {
        let entries: Vec<_> = self
            .house
            .log
            .entries()
            .into_iter()
            .filter(|entry| entry.at >= self.zero)
            .collect();
        Ladder::new(&[ALICE, DESK, MOBILE], "Refork", WIDTH)
            .entries(&entries)
            .draw(self.zero)
    }
}
