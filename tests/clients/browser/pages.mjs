// Pages of one headless Chromium, commanded by lines of JSON on the standard input:
// {"id": 1, "page": "alice", "act": "call", "with": ["sip:bob@example.org"]}; each gets a line back.
import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [bundle, profile, executablePath] = process.argv.slice(2);
const script = readFileSync(bundle, "utf8");
// Any name will do for the page: it never leaves the browser. It must be secure to be given a microphone.
const HOME = "https://phone.test/";

const browser = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  ignoreHTTPSErrors: true,
  permissions: ["microphone"],
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // The page counts as one of the internet, and the server as one of the house.
    "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets",
    "--ignore-certificate-errors",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
  ],
});
await browser.route(`${HOME}**`, (route) =>
  route.fulfill({ contentType: "text/html", body: "<!doctype html><title>phone</title>" }),
);
const pages = new Map();

const acts = {
  async open(name) {
    const page = await browser.newPage();
    page.on("console", (line) => console.error(`${name}: ${line.text()}`));
    page.on("pageerror", (error) => console.error(`${name}: ${error}`));
    await page.goto(HOME);
    await page.addScriptTag({ content: script });
    pages.set(name, page);
  },
  // The tab dies, and with it all that it held; nobody says farewell.
  crash(name) {
    const gone = new Promise((crashed) => pages.get(name).once("crash", crashed));
    pages.get(name).goto("chrome://crash").catch(() => {});
    return gone.then(() => true);
  },
  async close(name) {
    await pages.get(name).close({ runBeforeUnload: false });
  },
  events: (name) => pages.get(name).evaluate(() => window.phone.events),
  media: (name) => pages.get(name).evaluate(() => window.phone.media()),
};

async function perform({ page, act, with: parts = [] }) {
  if (act in acts) return acts[act](page);
  return pages.get(page).evaluate(
    async ([act, parts]) => void (await window.phone[act](...parts)),
    [act, parts],
  );
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, ...wish } = JSON.parse(line);
  perform(wish).then(
    (answer = null) => console.log(JSON.stringify({ id, answer })),
    (error) => console.log(JSON.stringify({ id, error: String(error) })),
  );
}
await browser.close();
