-- In how many cells of the picture is something, on average? The analyst's own logic asks a model for tensors.
SPLIT plaza
  BEGIN 2026-09-01T13:00:00Z END 2026-09-01T13:40:00Z
  BY TIME 20 sec
  INTO chunks;

PROCESS chunks USING 'crowd.py' WITH MODEL 'fastestdet.onnx' CALLS 5 TIMEOUT 2 sec
  PRODUCING EXACTLY 5 ROWS
  WITH SCHEMA (cells:NUMBER=0)
  INTO views;

SELECT AVG(RANGE(cells, 0, 40)) AS cells FROM views CONSUMING 1.0;
