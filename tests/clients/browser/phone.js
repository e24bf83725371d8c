// A phone in a page, of either library. What it lived through is in `window.phone.events`.
import JsSIP from "jssip";
import { Inviter, Messager, Registerer, SessionState, UserAgent } from "sip.js";

const AUDIO = { audio: true, video: false };
const events = [];
const note = (what, detail = "") => events.push({ what, detail });

class WithSipJs {
  sessions = [];

  constructor({ user, password, server, instance, answers }) {
    this.ua = new UserAgent({
      uri: UserAgent.makeURI(`sip:${user}@example.org`),
      transportOptions: { server },
      authorizationUsername: user,
      authorizationPassword: password,
      instanceId: instance,
      logLevel: "warn",
      sessionDescriptionHandlerFactoryOptions: {
        iceGatheringTimeout: 1000,
        peerConnectionConfiguration: { iceServers: [] },
      },
      delegate: {
        onInvite: (invitation) => {
          note("invited");
          this.watch(invitation);
          if (answers) invitation.accept({ sessionDescriptionHandlerOptions: { constraints: AUDIO } });
        },
        onMessage: (message) => {
          note("text", message.request.body);
          message.accept();
        },
      },
    });
  }

  async start() {
    await this.ua.start();
    const registerer = new Registerer(this.ua, { expires: 600, regId: 1 });
    registerer.stateChange.addListener((state) => note(state.toLowerCase()));
    await registerer.register();
  }

  watch(session) {
    this.session = session;
    this.sessions.push(session);
    session.delegate = {
      onMessage: (message) => {
        note("text in call", message.request.body);
        message.accept();
      },
    };
    session.stateChange.addListener((state) => {
      if (state === SessionState.Established) note("established");
      if (state === SessionState.Terminated) note("ended");
    });
  }

  async call(target) {
    const inviter = new Inviter(this.ua, UserAgent.makeURI(target), {
      sessionDescriptionHandlerOptions: { constraints: AUDIO },
    });
    this.watch(inviter);
    await inviter.invite();
  }

  text(target, content) {
    return new Messager(this.ua, UserAgent.makeURI(target), content).message();
  }

  textInCall(content) {
    const body = { contentDisposition: "render", contentType: "text/plain", content };
    return this.session.message({ requestOptions: { body } });
  }

  async hangUp() {
    await this.session.bye();
  }

  async hold(on) {
    const options = this.session.sessionDescriptionHandlerOptionsReInvite;
    this.session.sessionDescriptionHandlerOptionsReInvite = { ...options, hold: on };
    await this.session.invite();
    // The direction in the SDP is that of the stream; what it sends is silence until its tracks are off.
    const connection = this.connection();
    for (const { track } of [...connection.getSenders(), ...connection.getReceivers()]) track.enabled = !on;
  }

  // To an address, or to the far end of its second call. It hangs up once that is done.
  refer(target) {
    const [transferee] = this.sessions;
    return transferee.refer(target ? UserAgent.makeURI(target) : this.sessions[1], {
      onNotify: (notification) => {
        const [status] = notification.request.body.split("\r\n");
        note("transfer", status);
        notification.accept();
        if (status.startsWith("SIP/2.0 2")) transferee.bye();
      },
    });
  }

  connection() {
    return this.session?.sessionDescriptionHandler?.peerConnection;
  }
}

class WithJsSip {
  sessions = [];

  constructor({ user, password, server, instance, answers }) {
    this.ua = new JsSIP.UA({
      sockets: [new JsSIP.WebSocketInterface(server)],
      uri: `sip:${user}@example.org`,
      password,
      instance_id: instance,
    });
    this.ua.on("registered", () => note("registered"));
    this.ua.on("newMessage", ({ originator, request }) => {
      if (originator === "remote") note("text", request.body);
    });
    this.ua.on("newRTCSession", ({ originator, session }) => {
      this.session = session;
      this.sessions.push(session);
      session.on("confirmed", () => note("established"));
      session.on("ended", () => note("ended"));
      session.on("failed", ({ cause }) => note("ended", cause));
      session.on("reinvite", () => note("reinvited"));
      if (originator === "remote") {
        note("invited");
        if (answers) session.answer({ mediaConstraints: AUDIO });
      }
    });
  }

  start() {
    this.ua.start();
  }

  call(target) {
    this.ua.call(target, { mediaConstraints: AUDIO, pcConfig: { iceServers: [] } });
  }

  text(target, content) {
    this.ua.sendMessage(target, content);
  }

  hangUp() {
    this.session.terminate();
  }

  hold(on) {
    return new Promise((done, failed) => {
      const began = on ? this.session.hold({}, done) : this.session.unhold({}, done);
      if (!began) failed("it cannot now");
    });
  }

  refer(target) {
    const [transferee, other] = this.sessions;
    transferee.refer(target ?? other.remote_identity.uri, {
      replaces: target ? undefined : other,
      eventHandlers: {
        accepted: () => {
          note("transfer", "accepted");
          transferee.terminate();
        },
        failed: ({ status_line: status }) => note("transfer", `${status?.status_code}`),
      },
    });
  }

  connection() {
    return this.session?.connection;
  }
}

window.phone = {
  events,
  async start(profile) {
    this.own = profile.library === "jssip" ? new WithJsSip(profile) : new WithSipJs(profile);
    await this.own.start();
  },
  call: (target) => window.phone.own.call(target),
  text: (target, content) => window.phone.own.text(target, content),
  textInCall: (content) => window.phone.own.textInCall(content),
  hangUp: () => window.phone.own.hangUp(),
  hold: (on) => window.phone.own.hold(on),
  refer: (target) => window.phone.own.refer(target),
  // Packets of audio that came since the call began, and the states of ICE and DTLS.
  async media() {
    const connection = window.phone.own.connection();
    let heard = 0;
    for (const report of (await connection?.getStats())?.values() ?? []) {
      if (report.type === "inbound-rtp") heard += report.packetsReceived;
    }
    return { heard, ice: connection?.iceConnectionState, state: connection?.connectionState };
  },
};
