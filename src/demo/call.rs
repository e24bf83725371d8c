//! The first scene: a call.

use std::time::Duration;

use crate::ua::{Burst, Call, Continuity, Ending, Ladder, Medium, Phone, Reaction, UaError};

use super::DemoError;
use super::checklist::{Checklist, requests};
use super::house::{ALICE, BOB, DESK, House, MOBILE};
use super::page::{Page, WIDTH};

const SOON: Duration = Duration::from_secs(5);
const RESTORED_WITHIN: Duration = Duration::from_secs(15);
/// Two seconds of voice.
const PACKETS: usize = 100;

pub(super) fn play(page: &Page, house: &House) -> Result<Checklist, DemoError> {
    page.heading("1. A call, whose phone dies in the middle of it");
    page.line("");
    let desk = house.desk()?;
    let zero = house.log.now();
    let mut scene = Scene {
        page,
        house,
        desk,
        zero,
        killed: zero,
        list: Checklist::default(),
    };
    // A scene that stops short has its ladder all the same: that is where to look for why.
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
    killed: Duration,
    list: Checklist,
}

impl Scene<'_> {
    fn act(&mut self) -> Result<(), UaError> {
        let (alice, mobile) = (&self.house.alice, &self.house.mobile);
        let (alice_voice, desk_voice) = (alice.profile().voice, self.desk.profile().voice);
        mobile.script(|script| script.invite = Reaction::Ring);

        self.page
            .step("Alice calls Bob. Both of his phones ring; he answers at his desk. They talk.");
        let call = alice.call(BOB, Medium::Audio)?;
        let taken = self.desk.incoming(SOON)?;
        let other = mobile.incoming(SOON)?;
        call.wait_up(SOON)?;
        let forked = other.wait_over(SOON)? == Ending::Cancelled;
        self.list.check(
            forked,
            "Both phones of Bob rang; the mobile fell silent when the desk phone was answered",
        );
        call.wait_voice(desk_voice, PACKETS, SOON)?;
        taken.wait_voice(alice_voice, PACKETS, SOON)?;
        self.list
            .check(true, "Alice and Bob's desk phone heard each other");

        self.page.step(
            "Bob's desk phone is killed: its sockets are gone, and it said nothing to anyone.",
        );
        mobile.script(|script| script.invite = Reaction::Answer(Duration::from_millis(1200)));
        self.killed = self.house.log.now();
        self.desk.kill();

        let again = mobile.incoming(RESTORED_WITHIN)?;
        let rang = self.house.log.now().saturating_sub(self.killed);
        self.page.step(
            "Refork has noticed, and invites Bob's phones again. His mobile rings; he takes it. They talk on.",
        );
        again.wait_up(RESTORED_WITHIN)?;
        self.list.check(
            true,
            format!(
                "Bob's mobile rang {} ms after the desk phone had died, and was answered",
                rang.as_millis()
            ),
        );
        let notice = call.wait_texts(1, SOON)?;
        self.list.check(
            notice[0].body.contains("continuing on Bob's mobile"),
            format!("Alice was told in a MESSAGE: {:?}", notice[0].body.trim()),
        );
        call.wait_voice(mobile.profile().voice, PACKETS, SOON)?;
        again.wait_voice(alice_voice, PACKETS, SOON)?;
        self.list
            .check(true, "Alice and Bob's mobile heard each other");
        self.hang_up(&call, &again)
    }

    fn hang_up(&mut self, call: &Call, again: &Call) -> Result<(), UaError> {
        let (alice, mobile) = (&self.house.alice, &self.house.mobile);
        let farewell = self.house.log.now();
        self.page.step("Bob hangs up.");
        let status = again.hang_up()?;
        let ended = call.wait_over(SOON)?;
        let asked = requests(&self.house.log, alice, self.killed, farewell);
        self.list.only_the_notice(&asked, 1);
        let heard = Continuity::of(&call.heard());
        self.list.unbroken(&heard, mobile.profile().voice);
        self.list.check(
            status == 200 && ended == Ending::HungUpThere,
            "Bob hung up on his mobile, and Alice's phone got its BYE",
        );
        self.list
            .check(call.texts().len() == 1, "There was one notice, not two");
        self.list.all_quiet(&[alice, &self.desk, mobile]);
        Ok(())
    }

    fn ladder(&self) -> String {
        let (alice, mobile) = (&self.house.alice, &self.house.mobile);
        let entries: Vec<_> = self
            .house
            .log
            .entries()
            .into_iter()
            .filter(|entry| entry.at >= self.zero)
            .collect();
        let calls = [alice, &self.desk, mobile].map(Phone::all_calls);
        let bursts = calls.iter().flatten().flat_map(Burst::of);
        let known = [self.desk.profile().voice, mobile.profile().voice];
        let bursts = bursts.map(|mut burst| {
            // What Alice hears of neither is Refork's own silence.
            if burst.who == ALICE && burst.voice.is_some_and(|voice| !known.contains(&voice)) {
                burst.name = "silence".to_owned();
            }
            burst
        });
        Ladder::new(&[ALICE, DESK, MOBILE], "Refork", WIDTH)
            .entries(&entries)
            .bursts(bursts)
            .draw(self.zero)
    }
}
