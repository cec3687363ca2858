// Checks a description of messages with the parser of AsyncAPI: node asyncapi.mjs FILE. Exit 1 for any finding.
import { readFile } from "node:fs/promises";
import asyncapi from "@asyncapi/parser";

const [file] = process.argv.slice(2);
const parser = new asyncapi.Parser();
const { document, diagnostics: findings } = await parser.parse(await readFile(file, "utf8"), { source: file });
for (const { range, code, message, path } of findings) {
  console.error(`${file}:${range.start.line + 1}: ${code}: ${message} (${path.join(".")})`);
}
if (document === undefined || findings.length > 0) process.exit(1);
const messages = document.allMessages().all();
const examples = messages.flatMap((message) => message.examples().all());
console.log(`${file}: AsyncAPI ${document.version()}, ${messages.length} messages, ${examples.length} examples`);
