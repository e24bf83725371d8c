//! The server: the engine, its relay, its store, its death and its rising again.

use refork::engine::Engine;
use refork::engine::ids::{VIRTUAL_SHARDS, VirtualShard};
use refork::engine::ports::{Input, Output};
use refork::engine::time::Millis;

use super::{Event, STEPS_PER_INSTANT, Simulation};
use crate::log::What;

impl Simulation {
    /// Starts the server, and what it remembers with it.
    pub(super) fn start_server(&mut self) {
        self.life += 1;
        let shards = (0..VIRTUAL_SHARDS).map(VirtualShard).collect();
        let seed = self.chance.bytes();
        let mut engine = Engine::new(self.scenario.rules.settings(), shards, seed);
        if self.life > 1 {
            self.log.add(self.now, None, What::ServerUp);
        }
        for snapshot in self.store.all() {
            let id = snapshot.id;
            if !engine.rebuild(snapshot, self.now, &mut self.outside) {
                self.broken.push(format!("{id} was not rebuilt"));
            }
        }
        self.engine = Some(engine);
        self.pump();
    }

    /// Ends it without a word; it is back after `down`.
    pub(super) fn kill_server(&mut self, down: Millis) {
        if self.engine.take().is_none() {
            return;
        }
        self.log.add(self.now, None, What::ServerDown);
        self.store.crash();
        self.shaken.fill(true);
        self.relay.restart();
        for phone in 0..self.phones.len() {
            self.close(phone, false);
        }
        self.after(down, Event::ServerUp);
    }

    /// Tells the server something; what it does about it is done at once.
    pub(super) fn tell(&mut self, input: Input) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        engine.handle_input(input, self.now, &mut self.outside);
        self.pump();
    }

    pub(super) fn time_server(&mut self) {
        let Some(engine) = &mut self.engine else {
            return;
        };
        if engine.poll_timeout().is_some_and(|at| at <= self.now) {
            engine.handle_timeout(self.now, &mut self.outside);
            self.pump();
        }
    }

    fn pump(&mut self) {
        let mut steps = 0;
        while let Some(output) = self.engine.as_mut().and_then(Engine::poll_output) {
            self.carry_out(output);
            steps += 1;
            assert!(steps < STEPS_PER_INSTANT, "outputs without end");
        }
        let sound = self.engine.as_ref().map(Engine::check_invariants);
        // An answer of the store may outlive its conversation.
        if let Some(Err(broken)) = sound
            && self.store.is_idle()
            && !self.broken.contains(&broken)
        {
            self.broken.push(broken);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { flow, bytes } => self.send_from_server(flow, bytes),
            Output::Resolve { token, .. } => {
                let targets = Vec::new();
                self.inform(Input::Resolved { token, targets });
            }
            Output::Media(command) => {
                self.remark(None, || format!("media {command:?}"));
                if let Some(event) = self.relay.handle(command, self.now) {
                    self.inform(Input::Media(event));
                }
                if !self.watching {
                    self.keep_watch();
                }
            }
            Output::Persist {
                conversation,
                token,
            } => {
                let snapshot = self
                    .engine
                    .as_ref()
                    .and_then(|engine| engine.snapshot(conversation));
                if let Some(snapshot) = snapshot {
                    self.store.write(snapshot, token);
                }
                if let Some(token) = token {
                    let slow = self.chance.percent(self.scenario.slow_store);
                    let wait = if slow {
                        self.chance.span(200, 3000)
                    } else {
                        self.chance.span(0, 20)
                    };
                    let life = self.life;
                    let ok = !self.chance.percent(self.scenario.failing_store);
                    self.store.slow += usize::from(slow);
                    self.store.failed += usize::from(!ok);
                    self.after(wait, Event::Stored { life, token, ok });
                }
            }
            Output::Forget { conversation } => self.store.forget(conversation),
            // One shard has no others to tell.
            Output::Bindings(_)
            | Output::Observed(_)
            | Output::Record(_)
            | Output::Lit(_)
            | Output::Watches(_) => {}
            Output::Inquiry(inquiry) => self.inform(Input::Inquiry(inquiry)),
            Output::Found(found) => self.inform(Input::Found(found)),
            Output::Handover(handover) => self.inform(Input::Handover(handover)),
            // One engine has all shards.
            Output::Moved(_) | Output::Forward(_) => {}
            Output::Event { event, .. } => {
                self.metrics.event(&event);
                self.remark(None, || format!("{event:?}"));
            }
        }
    }
}
