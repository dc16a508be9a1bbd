// What the official client for Node gets of a server: node openai_node.js URL KEY, with `openai` in NODE_PATH.
const assert = require('node:assert/strict');
const OpenAI = require('openai');

const [url, key] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0 });
const PNG = 'iVBORw0KGgo';
const words = 'a big red circle on a blue background';

const proofs = {
  async models() {
    const { data } = await client.models.list();
    const one = await client.models.retrieve(data[0].id);
    assert.equal(one.object, 'model');
    return data.map((card) => card.id).join(' ');
  },
  async chat() {
    const answer = await client.chat.completions.create({ model: 'gpt-4o', messages: [{ role: 'user', content: words }] });
    const { message } = answer.choices[0];
    assert.match(message.images[0].image_url.url, new RegExp(`^data:image/png;base64,${PNG}`));
    return `${answer.usage.completion_tokens} tokens`;
  },
  async 'chat stream'() {
    const stream = await client.chat.completions.create({
      model: 'gpt-4o', messages: [{ role: 'user', content: words }], stream: true, stream_options: { include_usage: true },
    });
    let text = '', images = 0, usage, reason;
    for await (const chunk of stream) {
      const [choice] = chunk.choices;
      text += choice?.delta.content ?? '';
      images += choice?.delta.images?.length ?? 0;
      reason = choice?.finish_reason ?? reason;
      usage = chunk.usage ?? usage;
    }
    assert.ok(text.length > 0 && images === 1 && reason === 'stop' && usage.total_tokens > 0);
    return `${text.length} letters, ${images} picture`;
  },
  async 'chat stream helper'() {
    const runner = client.chat.completions.stream({ model: 'gpt-4o', messages: [{ role: 'user', content: words }] });
    const message = await runner.finalMessage();
    assert.equal(message.role, 'assistant');
    return `${message.content.length} letters`;
  },
  async images() {
    const { data } = await client.images.generate({ model: 'gpt-image-1', prompt: words, size: '128x128', n: 2 });
    assert.ok(data.length === 2 && data.every((image) => image.b64_json.startsWith(PNG) && image.revised_prompt));
    return `${data.length} pictures`;
  },
  async 'images stream'() {
    const stream = await client.images.generate({
      model: 'gpt-image-1', prompt: words, size: '128x128', stream: true, partial_images: 2,
    });
    const kinds = [];
    for await (const event of stream) kinds.push(event.type);
    assert.deepEqual(kinds, [...Array(2).fill('image_generation.partial_image'), 'image_generation.completed']);
    return kinds.length + ' events';
  },
  async 'images edit'() {
    const made = await client.images.generate({ model: 'gpt-image-1', prompt: words, size: '128x128' });
    const image = await OpenAI.toFile(Buffer.from(made.data[0].b64_json, 'base64'), 'a.png', { type: 'image/png' });
    const { data } = await client.images.edit({ model: 'gpt-image-1', image, prompt: 'make it green' });
    assert.ok(data[0].b64_json.startsWith(PNG));
    return 'a picture';
  },
  async responses() {
    const tools = [{ type: 'image_generation', size: '128x128' }];
    const made = await client.responses.create({ model: 'gpt-4o', input: words, tools });
    const [picture] = made.output.filter((item) => item.type === 'image_generation_call');
    assert.ok(picture.result.startsWith(PNG));
    const kept = await client.responses.retrieve(made.id);
    assert.equal(kept.id, made.id);
    const given = [];
    for await (const item of client.responses.inputItems.list(made.id)) given.push(item);
    assert.equal(given[0].content[0].text, words);
    const next = await client.responses.create({ model: 'gpt-4o', input: 'what is in it?', previous_response_id: made.id });
    assert.ok(next.output_text.length > 0);
    await client.responses.delete(made.id);
    await assert.rejects(client.responses.retrieve(made.id), OpenAI.NotFoundError);
    return `${made.output.length} items`;
  },
  async 'responses stream'() {
    const tools = [{ type: 'image_generation', size: '128x128', partial_images: 1 }];
    const stream = client.responses.stream({ model: 'gpt-4o', input: words, tools });
    let pieces = 0;
    stream.on('response.output_text.delta', () => (pieces += 1));
    const last = await stream.finalResponse();
    assert.equal(last.status, 'completed');
    return `${pieces} pieces, ${last.output.length} items`;
  },
  async refusals() {
    await assert.rejects(client.images.generate({ prompt: words, model: 'gpt-9' }), OpenAI.NotFoundError);
    await assert.rejects(client.images.generate({ prompt: '' }), OpenAI.BadRequestError);
    const stranger = new OpenAI({ baseURL: url, apiKey: 'sk-of-somebody', maxRetries: 0 });
    await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
    return '404, 400, 401';
  },
};

(async () => {
  let failed = 0;
  for (const [name, proof] of Object.entries(proofs)) {
    try {
      console.log(`ok      ${name}: ${await proof()}`);
    } catch (problem) {
      failed += 1;
      console.log(`failed  ${name}: ${problem.message}`);
    }
  }
  process.exitCode = failed ? 1 : 0;
})();
