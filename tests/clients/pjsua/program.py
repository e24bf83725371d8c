"""A phone of PJSIP's library: commands are lines of JSON on the standard input, what happens is told as lines of JSON.

Started with its settings as JSON."""

import json
import os
import select
import sys

import pjsua2

# One codec, for which the relay can make silence.
CODEC = "PCMU/8000/1"


def tell(what, detail=""):
    print(json.dumps({"what": what, "detail": detail}), flush=True)


class Call(pjsua2.Call):
    def __init__(self, phone, number=pjsua2.PJSUA_INVALID_ID):
        super().__init__(phone, number)
        self.phone = phone
        phone.calls.append(self)

    def onCallState(self, _):
        state = self.getInfo().state
        if state == pjsua2.PJSIP_INV_STATE_CONFIRMED:
            tell("stands")
        elif state == pjsua2.PJSIP_INV_STATE_DISCONNECTED:
            self.phone.calls.remove(self)
            tell("ended", self.getInfo().lastReason)

    def onCallMediaState(self, _):
        for number, media in enumerate(self.getInfo().media):
            if media.type == pjsua2.PJMEDIA_TYPE_AUDIO and media.status == pjsua2.PJSUA_CALL_MEDIA_ACTIVE:
                self.phone.player.startTransmit(self.getAudioMedia(number))

    def onCallReplaced(self, prm):
        Call(self.phone, prm.newCallId)

    def onCallTransferStatus(self, prm):
        tell("transfer", prm.statusCode)
        if prm.statusCode // 100 == 2:
            self.hangup(pjsua2.CallOpParam(True))

    def onDtmfDigit(self, prm):
        tell("digit", prm.digit)

    def onInstantMessage(self, prm):
        tell("text", prm.msgBody)


class Phone(pjsua2.Account):
    def __init__(self, settings):
        super().__init__()
        self.settings, self.calls = settings, []
        self.player = pjsua2.AudioMediaPlayer()
        self.player.createPlayer(settings["speech"])
        account = pjsua2.AccountConfig()
        account.idUri = f"sip:{settings['user']}@example.org"
        account.regConfig.registrarUri = "sip:example.org"
        account.regConfig.timeoutSec = 120
        account.sipConfig.proxies.append(f"sip:{settings['server']};transport={settings['transport']};lr")
        account.sipConfig.authCreds.append(
            pjsua2.AuthCredInfo("digest", "*", settings["user"], 0, settings["password"]))
        # The library makes one of the host's name, which several phones may share.
        account.natConfig.sipOutboundInstanceId = f"<{settings['instance']}>"
        account.mediaConfig.transportConfig.boundAddress = settings["address"]
        account.mediaConfig.srtpUse = (
            pjsua2.PJMEDIA_SRTP_MANDATORY if settings["encrypts"] else pjsua2.PJMEDIA_SRTP_DISABLED)
        account.mediaConfig.srtpSecureSignaling = 0
        self.create(account)

    def onRegState(self, prm):
        tell("registered" if prm.code == 200 else "not registered", prm.reason)

    def onIncomingCall(self, prm):
        call, answer = Call(self, prm.callId), pjsua2.CallOpParam()
        answer.statusCode = {"yes": 200, "early": 183}.get(self.settings["answers"], 180)
        tell("rung")
        call.answer(answer)

    def onInstantMessage(self, prm):
        tell("text", prm.msgBody)

    def onInstantMessageStatus(self, prm):
        tell("delivered", prm.code)

    # What it is told to do.

    def dial(self, target):
        Call(self).makeCall(target, pjsua2.CallOpParam(True))

    def answer(self):
        answer = pjsua2.CallOpParam()
        answer.statusCode = 200
        self.calls[-1].answer(answer)

    def hang_up(self):
        self.calls[-1].hangup(pjsua2.CallOpParam(True))

    def hold(self):
        self.calls[0].setHold(pjsua2.CallOpParam(True))

    def resume(self):
        how = pjsua2.CallOpParam(True)
        how.opt.flag = pjsua2.PJSUA_CALL_UNHOLD
        self.calls[0].reinvite(how)

    def transfer(self, target):
        self.calls[0].xfer(target, pjsua2.CallOpParam(True))

    def join(self):
        self.calls[0].xferReplaces(self.calls[1], pjsua2.CallOpParam(True))

    def digits(self, digits):
        self.calls[-1].dialDtmf(digits)

    def text(self, target, body):
        peer, friend, text = pjsua2.BuddyConfig(), pjsua2.Buddy(), pjsua2.SendInstantMessageParam()
        peer.uri, text.content = target, body
        friend.create(self, peer)
        friend.sendInstantMessage(text)

    def text_in_call(self, body):
        text = pjsua2.SendInstantMessageParam()
        text.content = body
        self.calls[-1].sendInstantMessage(text)


def start(settings):
    """Starts the library, with one thread: this one."""
    config, endpoint = pjsua2.EpConfig(), pjsua2.Endpoint()
    config.uaConfig.threadCnt, config.uaConfig.mainThreadOnly = 0, True
    config.uaConfig.userAgent = "pjsua"
    config.logConfig.level, config.logConfig.consoleLevel, config.logConfig.msgLogging = 4, 0, 1
    config.logConfig.filename = settings["log"]
    # It would take the buzz for silence.
    config.medConfig.noVad = True
    # It would stop the clock a second after a call, whether another one runs or not.
    config.medConfig.sndAutoCloseTime = -1
    endpoint.libCreate()
    endpoint.libInit(config)
    where = pjsua2.TransportConfig()
    where.boundAddress = settings["address"]
    where.port = 5060
    kind = {"udp": pjsua2.PJSIP_TRANSPORT_UDP, "tcp": pjsua2.PJSIP_TRANSPORT_TCP, "tls": pjsua2.PJSIP_TRANSPORT_TLS}
    if settings["ca"]:
        where.port = 5061
        where.tlsConfig.CaListFile, where.tlsConfig.verifyServer = settings["ca"], True
    endpoint.transportCreate(kind[settings["transport"]], where)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, 255 if codec.codecId == CODEC else 0)
    return endpoint


def main():
    settings = json.loads(sys.argv[1])
    endpoint = start(settings)
    phone = Phone(settings)
    os.set_blocking(0, False)
    waiting = b""
    while True:
        endpoint.libHandleEvents(10)
        if not select.select([0], [], [], 0)[0]:
            continue
        read = os.read(0, 65536)
        if not read:
            # With this its log is written to the end.
            endpoint.libDestroy(pjsua2.PJSUA_DESTROY_NO_NETWORK)
            os._exit(0)
        *lines, waiting = (waiting + read).split(b"\n")
        for line in lines:
            act, *parts = json.loads(line)
            try:
                getattr(phone, act)(*parts)
            except (pjsua2.Error, IndexError) as error:
                tell("failed", f"{act}: {getattr(error, 'reason', error)}")


main()
