// Mints the token vectors with two independent libraries; README.md beside this file has the recipe.
// Private keys live as long as this process. Secrets are fixed and worth nothing: they protect nothing.

import { createHmac, createSign, generateKeyPairSync } from "node:crypto";
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { CompactEncrypt, SignJWT } from "jose";
import jsonwebtoken from "jsonwebtoken";

const target = process.argv[2];
if (!target) throw new Error("usage: node mint.mjs FOLDER");

// Unix seconds: 2019-01-01, 2020-01-01, 2025-01-01 and 2100-01-01.
const IN_2019 = 1546300800;
const IN_2020 = 1577836800;
const IN_2025 = 1735689600;
const IN_2100 = 4102444800;

const APP_ID = "cs-50febaa3-743f-55b3-8956-718e96f6bb90";
const SUB = "test-subject-1";

const SHAPES = [
  { appId: APP_ID },
  { sub: SUB, appId: APP_ID },
  { sub: SUB, appId: APP_ID, iat: IN_2025, exp: IN_2100 },
  { sub: SUB, appId: APP_ID, iat: IN_2019, exp: IN_2020 },
  { sub: SUB, appId: APP_ID, nbf: IN_2100 },
];

const SECRETS = {
  HS256: "test-secret-for-hs256-not-for-production-use",
  HS384: "test-secret-for-hs384-not-for-production-use-longer-than-48-characters",
  HS512: "test-secret-for-hs512-not-for-production-use-longer-than-64-characters-by-far",
};

const PAIRS = {
  RS256: generateKeyPairSync("rsa", { modulusLength: 2048 }),
  ES256: generateKeyPairSync("ec", { namedCurve: "P-256" }),
  EdDSA: generateKeyPairSync("ed25519"),
};

const publicPem = (pair) => pair.publicKey.export({ type: "spki", format: "pem" });
const storedKey = (alg) => (SECRETS[alg] ? { secret: SECRETS[alg] } : { publicKey: publicPem(PAIRS[alg]) });

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

function withJsonwebtoken(alg, claims) {
  const key = SECRETS[alg] ?? PAIRS[alg].privateKey;
  // The option also drops an iat that is given, so it is only for claims without one.
  const options = claims.iat === undefined ? { noTimestamp: true } : {};
  return jsonwebtoken.sign(claims, key, { ...options, algorithm: alg });
}

function withJose(alg, claims) {
  const key = SECRETS[alg] ? new TextEncoder().encode(SECRETS[alg]) : PAIRS[alg].privateKey;
  return new SignJWT(claims).setProtectedHeader({ alg, typ: "JWT" }).sign(key);
}

const MINTS = [
  { package: "jsonwebtoken", algorithms: ["HS256", "HS384", "HS512", "RS256", "ES256"], mint: withJsonwebtoken },
  { package: "jose", algorithms: ["HS256", "HS384", "HS512", "RS256", "ES256", "EdDSA"], mint: withJose },
];

async function tokens() {
  const made = [];
  for (const { package: name, algorithms, mint } of MINTS) {
    for (const algorithm of algorithms) {
      for (const claims of SHAPES) {
        // Both libraries write into what they are given.
        const token = await mint(algorithm, structuredClone(claims));
        made.push({ minted_by: nameAndVersion(name), algorithm, claims, key: storedKey(algorithm), token });
      }
    }
  }
  return made;
}

// From here on: tokens no library would mint, put together byte by byte.

const HS256_HEADER = '{"alg":"HS256","typ":"JWT"}';
const SAMPLE = JSON.stringify({ sub: SUB, appId: APP_ID });
const SAMPLE_CLAIMS = JSON.parse(SAMPLE);

const base64url = (bytes) => Buffer.from(bytes).toString("base64url");
const signingInput = (header, payload) => `${base64url(header)}.${base64url(payload)}`;

function hmacToken(header, payload, secret = SECRETS.HS256, hash = "sha256") {
  const input = signingInput(header, payload);
  return `${input}.${createHmac(hash, secret).update(input).digest("base64url")}`;
}

const signed = (name, why, payload, ifAccepted = null) => ({
  name,
  why,
  algorithm: "HS256",
  key: storedKey("HS256"),
  properly_signed: true,
  if_accepted: ifAccepted,
  token: hmacToken(HS256_HEADER, payload),
});

const signedWithHeader = (name, why, header, ifAccepted = null) => ({
  ...signed(name, why, SAMPLE, ifAccepted),
  token: hmacToken(typeof header === "string" ? header : JSON.stringify(header), SAMPLE),
});

const forged = (name, why, token, algorithm = "HS256") => ({
  name,
  why,
  algorithm,
  key: storedKey(algorithm),
  properly_signed: false,
  if_accepted: null,
  token,
});

function unsigned(alg) {
  return `${signingInput(JSON.stringify({ alg, typ: "JWT" }), SAMPLE)}.`;
}

function ownKeyInHeader() {
  const attacker = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const jwk = attacker.publicKey.export({ format: "jwk" });
  const input = signingInput(JSON.stringify({ alg: "RS256", typ: "JWT", jwk }), SAMPLE);
  return `${input}.${createSign("sha256").update(input).sign(attacker.privateKey, "base64url")}`;
}

function ecdsaDer() {
  const input = signingInput('{"alg":"ES256","typ":"JWT"}', SAMPLE);
  return `${input}.${createSign("sha256").update(input).sign(PAIRS.ES256.privateKey, "base64url")}`;
}

function encrypted() {
  return new CompactEncrypt(new TextEncoder().encode(SAMPLE))
    .setProtectedHeader({ alg: "dir", enc: "A256GCM" })
    .encrypt(new TextEncoder().encode(SECRETS.HS256.slice(0, 32)));
}

async function signatureAttacks() {
  const honest = hmacToken(HS256_HEADER, SAMPLE);
  const [head, body, signature] = honest.split(".");
  const other = base64url(JSON.stringify({ ...SAMPLE_CLAIMS, appId: "cs-of-somebody-else" }));
  const es256Input = signingInput('{"alg":"ES256","typ":"JWT"}', SAMPLE);
  const rsaPem = publicPem(PAIRS.RS256);
  return [
    forged("alg_none", "An unsigned token says that it needs no signature.", unsigned("none")),
    forged("alg_none_mixed_case", "The same for a check that compares with 'none' only.", unsigned("nOnE")),
    forged("alg_none_for_rs256", "The same where a public key is set.", unsigned("none"), "RS256"),
    forged("alg_empty", "The header names an empty algorithm.", unsigned("")),
    forged("alg_null", "The header names no algorithm but null.", unsigned(null)),
    forged("alg_array", "The header names a list of algorithms.", unsigned(["HS256"])),
    forged(
      "alg_confusion",
      "HS256 with the text of the RSA public key as its secret; the verifier is set to RS256.",
      hmacToken(HS256_HEADER, SAMPLE, rsaPem),
      "RS256",
    ),
    forged(
      "alg_confusion_without_last_newline",
      "The same with the public key's text trimmed, as a settings file may hold it.",
      hmacToken(HS256_HEADER, SAMPLE, rsaPem.trimEnd()),
      "RS256",
    ),
    forged(
      "alg_not_the_configured_one",
      "HS512 with the right secret where the verifier is set to HS256 alone.",
      hmacToken('{"alg":"HS512","typ":"JWT"}', SAMPLE, SECRETS.HS256, "sha512"),
    ),
    forged(
      "kid_to_an_empty_file",
      "The key id leads to /dev/null and the secret is what is read there: nothing.",
      hmacToken('{"alg":"HS256","typ":"JWT","kid":"../../dev/null"}', SAMPLE, ""),
    ),
    forged("jwk_in_header", "The header brings the public key to verify with.", ownKeyInHeader(), "RS256"),
    forged("empty_secret", "Signed with an empty secret.", hmacToken(HS256_HEADER, SAMPLE, "")),
    forged("payload_exchanged", "Another appId under an honest signature.", `${head}.${other}.${signature}`),
    forged("signature_missing", "The signature is empty.", `${head}.${body}.`),
    forged("signature_cut", "The first half of an honest signature.", `${head}.${body}.${signature.slice(0, 22)}`),
    forged("two_parts", "No signature, and no dot before it.", `${head}.${body}`),
    forged("four_parts", "One part too many.", `${honest}.${signature}`),
    forged("not_base64", "A signature outside the alphabet.", `${head}.${body}.%%%%`),
    forged("es256_zeros", "An ECDSA signature of zeros.", `${es256Input}.${base64url(Buffer.alloc(64))}`, "ES256"),
    forged("es256_der", "An ECDSA signature in DER, which RFC 7518 section 3.4 forbids.", ecdsaDer(), "ES256"),
    forged("jwe_five_parts", "An encrypted token (RFC 7516) where a signed one is due.", await encrypted()),
  ];
}

function headerAttacks() {
  const base = { alg: "HS256", typ: "JWT" };
  return [
    signedWithHeader("alg_missing", "The header has no algorithm.", { typ: "JWT" }),
    signedWithHeader("header_array", "The header is a list.", ["HS256"]),
    signedWithHeader("header_not_json", "The header is no JSON.", "HS256"),
    signedWithHeader(
      "kid_with_a_path",
      "Signed with the right secret; the key id must not be followed.",
      { ...base, kid: "../../dev/null" },
      SAMPLE_CLAIMS,
    ),
    signedWithHeader(
      "jku_elsewhere",
      "Signed with the right secret; the address of keys must not be fetched.",
      { ...base, jku: "http://127.0.0.1:9/keys.json" },
      SAMPLE_CLAIMS,
    ),
    signedWithHeader("crit_unknown", "RFC 7515 section 4.1.11: an extension that must be understood is not.", {
      ...base,
      crit: ["urn:example:unknown"],
      "urn:example:unknown": true,
    }),
    signedWithHeader("crit_empty", "RFC 7515 section 4.1.11: the list must not be empty.", { ...base, crit: [] }),
    signedWithHeader("crit_string", "RFC 7515 section 4.1.11: it must be a list.", { ...base, crit: "exp" }),
    signedWithHeader("b64_false", "RFC 7797 section 7: a JWT must not have an unencoded payload.", {
      ...base,
      b64: false,
      crit: ["b64"],
    }),
    signedWithHeader("b64_false_without_crit", "RFC 7797 section 6: b64 must be named in crit.", {
      ...base,
      b64: false,
    }),
  ];
}

function payloadAttacks() {
  const withAppId = (json) => `{"sub":"${SUB}","appId":${json}}`;
  const withExp = (json) => `{"sub":"${SUB}","appId":"${APP_ID}","exp":${json}}`;
  const lastOne = "RFC 7519 section 4: refuse it, or take the last one.";
  return [
    signed("duplicate_app_id", lastOne, `{"appId":"cs-first","appId":"${APP_ID}"}`, { appId: APP_ID }),
    signed("duplicate_exp", `Expired by the last one. ${lastOne}`, withExp(`${IN_2100},"exp":${IN_2020}`)),
    signed("app_id_missing", "Nothing says which app it is for.", `{"sub":"${SUB}"}`),
    signed("app_id_number", "appId is a number.", withAppId("50")),
    signed("app_id_array", "appId is a list.", withAppId(`["${APP_ID}"]`)),
    signed("app_id_object", "appId is an object.", withAppId(`{"id":"${APP_ID}"}`)),
    signed("app_id_null", "appId is null.", withAppId("null")),
    signed("app_id_true", "appId is a truth value.", withAppId("true")),
    signed("app_id_empty", "appId is an empty text.", withAppId('""')),
    signed("app_id_nul", "appId has a NUL, which PostgreSQL cannot store as text.", withAppId('"cs-\\u0000"')),
    signed("app_id_surrogate", "appId has half a surrogate pair, which is not UTF-8.", withAppId('"cs-\\ud800"')),
    signed("app_id_4096_characters", "appId is far longer than any id.", withAppId(`"${"a".repeat(4096)}"`)),
    signed("payload_array", "The payload is a list.", `["${APP_ID}"]`),
    signed("payload_string", "The payload is a text.", `"${APP_ID}"`),
    signed("payload_null", "The payload is null.", "null"),
    signed("payload_empty", "The payload has no bytes.", ""),
    signed("payload_not_json", "The payload is no JSON.", "appId=1"),
    signed("payload_not_utf8", "The payload is not UTF-8.", Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])),
    signed("payload_nested", "Lists nested 3,000 deep exhaust a recursive parser.", withAppId("[".repeat(3000) + "]".repeat(3000))),
    signed("exp_string", "exp is a text; RFC 7519 section 2 wants a number.", withExp('"tomorrow"')),
    signed("exp_digits_in_a_string", "exp is a text of digits, in 2100 once converted.", withExp(`"${IN_2100}"`)),
    signed("exp_negative", "exp is before 1970.", withExp("-1")),
    signed("exp_nan", "exp is NaN, which is no JSON but read by Python.", withExp("NaN")),
    signed("exp_infinity", "exp is Infinity, which is no JSON but read by Python.", withExp("Infinity")),
    signed("exp_1e400", "exp is beyond a double: it reads as infinity.", withExp("1e400")),
    signed("exp_5000_digits", "exp is longer than Python converts to an integer.", withExp("9".repeat(5000))),
    signed("exp_null", "exp is null.", withExp("null")),
    signed("exp_true", "exp is a truth value, which Python counts as 1.", withExp("true")),
    signed("exp_array", "exp is a list.", withExp(`[${IN_2100}]`)),
    signed("exp_object", "exp is an object.", withExp("{}")),
  ];
}

const write = (name, vectors) => writeFileSync(join(target, name), `${JSON.stringify(vectors, null, 2)}\n`);

write("tokens.json", await tokens());
write("attacks.json", [...(await signatureAttacks()), ...headerAttacks(), ...payloadAttacks()]);
