// Calls the proxy as programs for Node do, and prints one line of JSON: the outcome of each call.
import OpenAI from "openai";
import { generateText } from "ai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

const baseURL = process.argv[2];
const model = process.argv[3];
const messages = [{ role: "user", content: process.argv[4] }];
const client = new OpenAI({ baseURL, apiKey: "unused" });
const provider = createOpenAICompatible({ name: "nomyo", baseURL, apiKey: "unused" });
const outcomes = {};

async function record(name, call) {
  try {
    outcomes[name] = await call();
  } catch (error) {
    outcomes[name] = [error.constructor.name, error.status ?? error.statusCode, error.code ?? error.data?.error?.code];
  }
}

await record("create", async () => (await client.chat.completions.create({ model, messages })).choices[0].message.content);
await record("stream", async () => {
  let text = "";
  const options = { model, messages, stream: true, stream_options: { include_usage: true } };
  for await (const event of await client.chat.completions.create(options)) {
    text += event.choices[0]?.delta?.content ?? "";
  }
  return text;
});
await record("embeddings", () => client.embeddings.create({ model, input: process.argv[4] }));
await record("ai", async () => (await generateText({ model: provider(model), messages })).text);
console.log(JSON.stringify(outcomes));
