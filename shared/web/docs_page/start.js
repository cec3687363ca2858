// Starts Swagger UI with the OpenAPI document that the page is about.
"use strict";

const operators = window.location.pathname.endsWith("/operations");
SwaggerUIBundle({
  url: operators ? "/openapi.operations.json" : "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
});
