// A real authorization server, oidc-provider, and beside it on the same port a protected MCP server at /mcp.
//
//     node authorization_server.mjs NODE_MODULES      prints its origin once it listens, and ends with its stdin
//
// It issues tokens for other servers on this machine, too: signed ones, and opaque ones if the path ends with /opaque.
// The client "machine" gets them without a person. A person agrees to everything at once. POST /control {"refuse": true} makes the MCP server refuse all tokens that it
// has seen. The client id metadata document is at https://relay.example/client.json, by a fetch of our own.

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const found = createRequire(process.argv[2] + "/").resolve("oidc-provider");
const { Provider } = await import(pathToFileURL(found));
const DOCUMENT = "https://relay.example/client.json";
const server = createServer();
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const origin = `http://127.0.0.1:${server.address().port}`;
const resource = `${origin}/mcp`;
const seen = new Set();
const refused = new Set();

const provider = new Provider(origin, {
  scopes: ["openid", "offline_access", "mcp:read", "mcp:write"],
  clientAuthMethods: ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"],
  pkce: { required: () => true },
  clients: [
    {
      client_id: "machine",
      client_secret: "the-secret-of-the-machine",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
    },
  ],
  rotateRefreshToken: true,
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed("refresh_token"),
  expiresWithSession: async () => false,
  findAccount: async (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  interactions: { url: (ctx, interaction) => `/agree/${interaction.uid}` },
  cookies: { keys: ["tests"] },
  ttl: { AccessToken: 3600, ClientCredentials: 3600, RefreshToken: 7200, AuthorizationCode: 60, DeviceCode: 600, Session: 600, Grant: 7200, Interaction: 600 },
  fetch: async (url) =>
    new Response(
      JSON.stringify({
        client_id: DOCUMENT,
        client_name: "a relay",
        application_type: "native",
        redirect_uris: ["http://127.0.0.1/oauth/callback"],
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
        token_endpoint_auth_method: "none",
      }),
      { status: String(url) === DOCUMENT ? 200 : 404, headers: { "content-type": "application/json" } },
    ),
  features: {
    devInteractions: { enabled: false },
    registration: { enabled: true },
    revocation: { enabled: true },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    deviceFlow: { enabled: true },
    clientIdMetadataDocument: { enabled: true, ack: "draft-02" },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: async (ctx, indicator) => {
        const isOwn = indicator === resource;
        if (!isOwn && !indicator.startsWith("http://127.0.0.1:")) throw new Error(`an unknown resource: ${indicator}`);
        const accessTokenFormat = isOwn || indicator.endsWith("/opaque") ? "opaque" : "jwt";
        return { scope: "mcp:read mcp:write", audience: indicator, accessTokenFormat };
      },
    },
  },
});
provider.on("server_error", (ctx, error) => console.error(error));
const rest = provider.callback();

async function agree(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === "login") {
    return provider.interactionFinished(request, response, { login: { accountId: "person" } });
  }
  const known = grantId ? await provider.Grant.find(grantId) : undefined;
  const grant = known ?? new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (prompt.details.missingOIDCScope) grant.addOIDCScope(prompt.details.missingOIDCScope.join(" "));
  for (const [indicator, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
    grant.addResourceScope(indicator, scopes.join(" "));
  }
  const consent = { grantId: await grant.save() };
  return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
}

async function bodyOf(request) {
  let body = "";
  for await (const piece of request) body += piece;
  return JSON.parse(body || "{}");
}

function answer(response, status, document, headers = {}) {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(document));
}

async function call(request, response) {
  const message = await bodyOf(request);
  const value = (request.headers.authorization ?? "").replace(/^Bearer /, "");
  const token = value ? await provider.AccessToken.find(value) : undefined;
  if (!token || token.aud !== resource || refused.has(value)) {
    const challenge = `Bearer resource_metadata="${origin}/.well-known/oauth-protected-resource/mcp"`;
    return answer(response, 401, {}, { "www-authenticate": challenge });
  }
  seen.add(value);
  if (message.method === "tools/call" && !token.scopes.has("mcp:write")) {
    const challenge = 'Bearer error="insufficient_scope", scope="mcp:write"';
    return answer(response, 403, {}, { "www-authenticate": challenge });
  }
  const result = { scope: [...token.scopes].join(" "), client: token.clientId };
  return answer(response, 200, { jsonrpc: "2.0", id: message.id, result });
}

server.on("request", async (request, response) => {
  const path = request.url.split("?")[0];
  try {
    if (path === "/mcp") return await call(request, response);
    if (path.startsWith("/agree/")) return await agree(request, response);
    if (path === "/.well-known/oauth-protected-resource/mcp") {
      return answer(response, 200, { resource, authorization_servers: [origin], scopes_supported: ["mcp:read"] });
    }
    if (path === "/control") {
      if ((await bodyOf(request)).refuse) for (const value of seen) refused.add(value);
      return answer(response, 200, {});
    }
    if (path === "/.well-known/oauth-authorization-server") request.url = "/.well-known/openid-configuration";
    return rest(request, response);
  } catch (error) {
    console.error(error);
    answer(response, 500, {});
  }
});
process.stdin.on("end", () => process.exit(0)).resume();
console.log(origin);
