-- How many are in view at a time?
SPLIT plaza
  BEGIN 2026-09-01T13:00:00Z END 2026-09-01T14:00:00Z
  BY TIME 5 sec
  AT 2 FPS
  INTO chunks;

PROCESS chunks USING 'yolo' TIMEOUT 3 sec
  PRODUCING EXACTLY 1 ROWS
  WITH SCHEMA (in_view:NUMBER=0)
  INTO seen;

SELECT AVG(RANGE(in_view, 0, 12)) AS in_view FROM seen CONSUMING 0.5;

