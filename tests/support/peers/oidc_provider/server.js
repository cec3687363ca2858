// Serves npm's oidc-provider as a test describes it: `node server.js PORT`, with one line of JSON on standard
// input for each description. A later line replaces the provider; its sessions and grants go on. After each
// line "ready VERSION" is written. It keeps everything in memory.
import http from "node:http";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const { version } = JSON.parse(readFileSync("node_modules/oidc-provider/package.json", "utf8"));
let handle = (_request, response) => response.writeHead(503).end();

function configuration(described) {
  return {
    clients: described.clients,
    jwks: { keys: described.keys },
    cookies: { keys: ["only for tests"] },
    // Its own refuses addresses on this machine, where the counter of the test is.
    fetch: (address, { dispatcher, ...options }) => fetch(address, options),
    claims: { openid: ["sub"], profile: ["name", "groups"] },
    clientDefaults: { id_token_signed_response_alg: described.algorithm },
    enabledJWA: {
      idTokenSigningAlgValues: [described.algorithm],
      userinfoSigningAlgValues: [described.algorithm],
    },
    findAccount: (_context, id) =>
      described.people[id] && { accountId: id, claims: () => ({ sub: id, ...described.people[id] }) },
    features: {
      devInteractions: { enabled: true },
      clientCredentials: { enabled: true },
      backchannelLogout: { enabled: true },
      jwtUserinfo: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      pushedAuthorizationRequests: {
        enabled: described.pushed !== "none",
        requirePushedAuthorizationRequests: described.pushed === "required",
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => [],
        useGrantedResource: () => true,
        getResourceServerInfo: (_context, resource) => ({
          scope: described.scopes,
          audience: resource.replace("urn:", ""),
          accessTokenFormat: "jwt",
          accessTokenTTL: described.seconds,
          jwt: { sign: { alg: described.algorithm } },
        }),
      },
    },
    extraTokenClaims: (_context, token) => described.claims[token.clientId],
    scopes: ["openid", "profile", ...described.scopes.split(" ")],
  };
}

const server = http.createServer((request, response) => handle(request, response));
server.listen(port, "127.0.0.1", () => {
  createInterface({ input: process.stdin })
    .on("line", (line) => {
      const provider = new Provider(issuer, configuration(JSON.parse(line)));
      provider.on("backchannel.error", (_context, error) => console.error(error));
      handle = provider.callback();
      console.log(`ready ${version}`);
    })
    .on("close", () => process.exit(0));
});
