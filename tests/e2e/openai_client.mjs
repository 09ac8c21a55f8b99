// Drives the unmodified `openai` package for node and prints what it saw as one JSON object.
import OpenAI from "openai";

const [baseURL, apiKey, model, impatientURL] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const impatient = new OpenAI({ baseURL: impatientURL, apiKey, maxRetries: 0 });
const say = (text) => [{ role: "user", content: text }];
const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false },
    },
  },
];
const seen = {};

async function failure(name, request, client) {
  try {
    const reply = await client.chat.completions.create(request);
    if (request.stream) for await (const _ of reply);
    seen[name] = { none: true };
  } catch (error) {
    seen[name] = { kind: error.constructor.name, status: error.status ?? null, code: error.code ?? null, retryAfter: error.headers?.get?.("retry-after") ?? null };
  }
}

const plain = await client.chat.completions.create({ model, messages: say("hello") });
seen.plain = { text: plain.choices[0].message.content, reason: plain.choices[0].finish_reason, total: plain.usage.total_tokens };

const runner = client.chat.completions.stream({ model, messages: say("hello"), stream_options: { include_usage: true } });
const streamed = await runner.finalChatCompletion();
seen.stream = { text: streamed.choices[0].message.content, reason: streamed.choices[0].finish_reason, total: (await runner.totalUsage()).total_tokens };

const history = say("weather in two cities");
const first = await client.chat.completions.create({ model, messages: history, tools });
const calls = first.choices[0].message.tool_calls;
history.push(first.choices[0].message);
history.push({ role: "tool", tool_call_id: calls[0].id, content: '{"sky": "sunny"}' });
history.push({ role: "tool", tool_call_id: calls[1].id, content: "rain in Oslo" });
const second = await client.chat.completions.create({ model, messages: history, tools });
seen.tools = { arguments: calls.map((call) => JSON.parse(call.function.arguments)), text: second.choices[0].message.content };

const schema = { type: "object", properties: { city: { type: "string" }, population: { type: ["integer", "null"] } }, required: ["city"], additionalProperties: false };
const parsed = await client.chat.completions.create({
  model,
  messages: say("answer as JSON"),
  response_format: { type: "json_schema", json_schema: { name: "city", strict: true, schema } },
});
seen.schema = JSON.parse(parsed.choices[0].message.content);

const pixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
const image = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: [{ type: "text", text: "what is in this picture" }, { type: "image_url", image_url: { url: pixel } }] }],
});
seen.image = image.choices[0].message.content;

const thought = await client.chat.completions.create({ model, messages: say("think first"), reasoning_effort: "low" });
seen.thought = { thought: thought.choices[0].message.reasoning_content, text: thought.choices[0].message.content };

await failure("limited", { model, messages: say("too many requests") }, client);
await failure("failed", { model, messages: say("break inside") }, client);
await failure("hang", { model, messages: say("say nothing") }, impatient);
await failure("cut", { model, messages: say("cut the stream"), stream: true }, client);

console.log(JSON.stringify(seen));
