// Publishes one projects.create command under the service's own key and takes the projects.created event that follows.
// Prints one JSON object a line. `--check FILE` compares this file's seal with the vectors of another implementation.
// What a seal is made of: ARCHITECTURE.md, Seal. What a message has to hold: `millrace asyncapi`.

import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import amqp from "amqplib";

// In the order of the MAC.
const SEALED = ["key_id", "message_id", "type", "schema_version", "org_id", "actor_kind", "actor_id", "role", "token_id",
  "token_iat", "source", "scheme", "secret_id", "dedupe_key", "correlation_id", "causation_id", "issued_at",
  "expected_version", "content_type"];
// These four are AMQP properties; the others are headers.
const PROPERTIES = { message_id: "messageId", type: "type", content_type: "contentType", correlation_id: "correlationId" };
const PATIENCE_MS = 120_000;

const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const hash = (bytes) => createHash("sha256").update(bytes).digest();
const length = (bytes) => { const four = Buffer.alloc(4); four.writeUInt32BE(bytes.length); return four; };

// An absent item is one zero byte, which an empty one is not.
function item(value) {
  if (value === undefined || value === null) return Buffer.from([0]);
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([1]), length(bytes), bytes]);
}

function sealInput(deployment, fields, body) {
  const items = ["millrace-seal-v1", deployment, ...SEALED.map((name) => fields[name]), hash(body)];
  return Buffer.concat(items.map(item));
}

const seal = (key, input) => createHmac("sha256", key).update(input).digest("hex");

// UUID version 8 of the first 16 bytes of SHA-256 over the items, each after its length.
function messageId(items) {
  const bytes = hash(Buffer.concat(items.map((item) => Buffer.from(item)).flatMap((bytes) => [length(bytes), bytes]))).subarray(0, 16);
  bytes[6] = (bytes[6] & 0x0f) | 0x80;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

const commandIdItems = (deployment, fields, body) => ["millrace-command-message-v1", deployment, fields.org_id,
  `${fields.actor_kind}:${fields.actor_id}`, fields.type, fields.dedupe_key, hash(body)];

function check(file) {
  const { vectors } = JSON.parse(readFileSync(file, "utf8"));
  for (const { name, deployment, key_hex, fields, body_hex, message_id_items_hex, seal_input_hex, seal: wanted } of vectors) {
    const body = Buffer.from(body_hex, "hex");
    const input = sealInput(deployment, fields, body);
    if (input.toString("hex") !== seal_input_hex) throw new Error(`${name}: another input`);
    if (seal(Buffer.from(key_hex, "hex"), input) !== wanted) throw new Error(`${name}: another seal`);
    const items = message_id_items_hex.map((text) => Buffer.from(text, "hex"));
    if (messageId(items) !== fields.message_id) throw new Error(`${name}: another message id`);
    if (fields.actor_kind !== "service") continue;
    const own = commandIdItems(deployment, fields, body).map((text) => Buffer.from(text).toString("hex"));
    if (own.join() !== message_id_items_hex.join()) throw new Error(`${name}: other items of the message id`);
  }
  print({ checked: vectors.length });
}

const env = (name) => process.env[name] ?? (() => { throw new Error(`set ${name}`); })();
const keyOf = (name) => Buffer.from(readFileSync(env(name), "utf8").trim(), "hex");

async function publish(channel, deployment, service, key) {
  const body = Buffer.from(JSON.stringify({ name: "Lighthouse" }));
  const fields = {
    key_id: `${service}-1`, type: "projects.create", schema_version: "1", org_id: env("MILLRACE_ORG"),
    actor_kind: "service", actor_id: service, role: "editor", dedupe_key: "deal-4711",
    issued_at: new Date().toISOString().replace("Z", "000Z"), content_type: "application/json",
  };
  fields.message_id = messageId(commandIdItems(deployment, fields, body));
  const headers = { seal: seal(key, sealInput(deployment, fields, body)) };
  const options = { persistent: true, mandatory: true, headers };
  for (const [name, value] of Object.entries(fields)) {
    if (PROPERTIES[name]) options[PROPERTIES[name]] = value;
    else headers[name] = value;
  }
  // A command is published when the broker has confirmed it and not returned it. Otherwise publish it again.
  const returned = new Promise((_, fail) => channel.on("return", () => fail(new Error("no queue takes the command"))));
  channel.publish("millrace.direct", "projects", body, options);
  await Promise.race([channel.waitForConfirms().then(() => new Promise(setImmediate)), returned]);
  print({ published: fields.message_id });
  return fields.message_id;
}

// The fields of an event that the worker sealed; nothing of what arrived is used before.
function open(message, deployment, key) {
  const { properties, content } = message;
  const fields = { ...properties.headers };
  for (const [name, property] of Object.entries(PROPERTIES)) fields[name] = properties[property];
  const texts = SEALED.every((name) => fields[name] === undefined || typeof fields[name] === "string");
  if (!texts || fields.key_id !== "worker-1" || fields.actor_kind !== "system") return null;
  const [made, found] = [seal(key, sealInput(deployment, fields, content)), `${fields.seal}`].map((text) => Buffer.from(text));
  return made.length === found.length && timingSafeEqual(made, found) ? fields : null;
}

async function main() {
  const [deployment, service] = [env("MILLRACE_DEPLOYMENT"), env("MILLRACE_SERVICE")];
  const connection = await amqp.connect(env("MILLRACE_AMQP_URL"));
  const channel = await connection.createConfirmChannel();
  await channel.prefetch(16);
  const [key, workerKey] = [keyOf("MILLRACE_KEY_FILE"), keyOf("MILLRACE_WORKER_KEY_FILE")];
  const cause = await publish(channel, deployment, service, key);
  setTimeout(() => { throw new Error("no event came"); }, PATIENCE_MS).unref();
  await new Promise((done) => channel.consume(`events.${service}`, (message) => {
    const fields = open(message, deployment, workerKey);
    if (!fields) return channel.reject(message, false); // kept in quarantine for an operator
    // A real service commits here what it made of the event, with its message id: it may come again.
    channel.ack(message);
    const { message_id, type, org_id, causation_id } = fields;
    print({ event: { message_id, type, org_id, causation_id, body: JSON.parse(message.content) } });
    return causation_id === cause ? done() : undefined;
  }));
  await channel.close();
  await connection.close();
}

if (process.argv[2] === "--check") check(process.argv[3]);
else await main();
