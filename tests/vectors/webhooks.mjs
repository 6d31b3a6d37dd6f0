// Signs callbacks with two public packages, and has them judge ours and tampered ones; README.md has the recipe.
// The secrets are fixed and worth nothing: they protect nothing.

import { createRequire } from "node:module";
import { hkdfSync } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Webhook as StandardWebhook } from "standardwebhooks";
import { Webhook as SvixWebhook } from "svix";

const target = process.argv[2];
if (!target) throw new Error("usage: node webhooks.mjs FOLDER < CALLBACKS");

const PACKAGES = { standardwebhooks: StandardWebhook, svix: SvixWebhook };

// Both packages compare with the clock: it stands still at the moment of sending.
const SENT_AT_S = 1_700_000_000;
Date.now = () => SENT_AT_S * 1000;

// The main entry of a package need not export its package.json, so it is looked for on the disk.
function nameAndVersion(name) {
  let folder = dirname(createRequire(import.meta.url).resolve(name));
  for (;;) {
    try {
      const found = JSON.parse(readFileSync(join(folder, "package.json")));
      if (found.name === name && found.version) return `${name} ${found.version}`;
    } catch (problem) {
      if (problem.code !== "ENOENT") throw problem;
    }
    folder = dirname(folder);
  }
}

const whole = ({ body, spaces }) => body + " ".repeat(spaces);
const secretOf = (bytes) => `whsec_${Buffer.from(bytes).toString("base64")}`;
const counting = (from, to) => Buffer.from(Array.from({ length: to - from }, (_, place) => from + place));

// The app's own secret, by node's HKDF over the documented salt and info.
const derived = (master, appId) => secretOf(hkdfSync("sha256", master, "", `handoff callback v1:${appId}`, 32));

const MASTERS = { "24 bytes": counting(0, 24), "32 bytes": counting(32, 64), "64 bytes": counting(0, 64) };
const BODIES = {
  plain: { body: '{"sessionId":"s-1","agentId":"a-2","status":"transferred"}', spaces: 0 },
  "UTF-8": { body: '{"reason":"größer, 転送, 🤝","nul":"\\u0000"}', spaces: 0 },
  "no bytes": { body: "", spaces: 0 },
  "one byte": { body: "0", spaces: 0 },
  dots: { body: "...", spaces: 0 },
  large: { body: "[]", spaces: 200_000 },
};

function signed() {
  const made = [];
  for (const [package_, Webhook] of Object.entries(PACKAGES)) {
    for (const [size, master] of Object.entries(MASTERS)) {
      for (const [kind, content] of Object.entries(BODIES)) {
        const appId = `app-${size.slice(0, 2)}`;
        const [id, at] = [`msg_${made.length}`, SENT_AT_S + made.length];
        made.push({
          name: `${package_}, ${size}, ${kind}`,
          signed_by: nameAndVersion(package_),
          master: secretOf(master),
          app_id: appId,
          secret: derived(master, appId),
          webhook_id: id,
          timestamp_s: at,
          ...content,
          signature: new Webhook(derived(master, appId)).sign(id, new Date(at * 1000), whole(content)),
        });
      }
    }
  }
  return made;
}

function tampered(sent) {
  const genuine = sent.find((one) => one.name === "plain");
  const signature = genuine.headers["webhook-signature"];
  const hex = Buffer.from(signature.slice(3), "base64").toString("hex");
  const withHeader = (name, value) => ({ ...genuine, headers: { ...genuine.headers, [name]: value } });
  const changed = {
    body_changed: { ...genuine, body: genuine.body.replace("a-2", "a-3") },
    space_added: { ...genuine, spaces: 1 },
    id_changed: withHeader("webhook-id", "msg_02"),
    timestamp_changed: withHeader("webhook-timestamp", String(SENT_AT_S + 1)),
    timestamp_is_no_number: withHeader("webhook-timestamp", "now"),
    signature_cut: withHeader("webhook-signature", signature.slice(0, -4)),
    signature_in_hex: withHeader("webhook-signature", `v1,${hex}`),
    signature_of_another_version: withHeader("webhook-signature", signature.replace("v1,", "v2,")),
    signature_without_version: withHeader("webhook-signature", signature.slice(3)),
    signature_empty: withHeader("webhook-signature", ""),
    secret_of_another_app: { ...genuine, secret: derived(MASTERS["32 bytes"], "app-2") },
    master_as_secret: { ...genuine, secret: genuine.masters[0] },
  };
  return Object.entries(changed).map(([name, one]) => ({ ...one, name }));
}

function verdict(Webhook, { secret, headers, ...content }) {
  try {
    new Webhook(secret).verify(whole(content), headers);
    return "accepted";
  } catch (refusal) {
    return `refused: ${refusal.message}`;
  }
}

const judged = (one) => ({
  ...one,
  verdicts: Object.fromEntries(
    Object.entries(PACKAGES).map(([name, Webhook]) => [nameAndVersion(name), verdict(Webhook, one)]),
  ),
});

const sent = JSON.parse(readFileSync(0, "utf8"));
const vectors = { signed: signed(), sent: sent.map(judged), tampered: tampered(sent).map(judged) };
writeFileSync(join(target, "webhooks.json"), `${JSON.stringify(vectors, null, 2)}\n`);
