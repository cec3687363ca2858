// Starts Swagger UI with the OpenAPI document that the page is about.
"use strict";

// Swagger UI would ask the sign-in service about itself, which the policy of this page forbids. A token that was
// pasted works as well.
const OTHER_HOSTS = "openIdConnect";

async function start() {
  const operators = window.location.pathname.endsWith("/operations");
  const answer = await fetch(operators ? "/openapi.operations.json" : "/openapi.json");
  const spec = await answer.json();
  delete spec.components.securitySchemes[OTHER_HOSTS];
  for (const operation of Object.values(spec.paths).flatMap(Object.values)) {
    operation.security = operation.security.filter((wanted) => !(OTHER_HOSTS in wanted));
  }
  SwaggerUIBundle({ spec, dom_id: "#swagger-ui", deepLinking: true });
}

start();
